// A declaration of what docs/mobile.md calls, for the compiler alone.

package android.content

import android.content.res.AssetManager

abstract class Context {
    abstract val assets: AssetManager
}
