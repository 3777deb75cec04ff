// A declaration of what docs/mobile.md calls, for the compiler alone.

package android.graphics

abstract class Bitmap {
    abstract val width: Int
    abstract val height: Int

    abstract fun getPixels(pixels: IntArray, offset: Int, stride: Int, x: Int, y: Int, width: Int, height: Int)
}
