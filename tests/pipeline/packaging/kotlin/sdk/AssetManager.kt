// A declaration of what docs/mobile.md calls, for the compiler alone.

package android.content.res

import java.io.InputStream

abstract class AssetManager {
    abstract fun open(fileName: String): InputStream
}
