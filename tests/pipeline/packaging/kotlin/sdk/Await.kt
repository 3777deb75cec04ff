// A declaration of what docs/mobile.md calls, for the compiler alone.

package kotlinx.coroutines.guava

import com.google.common.util.concurrent.ListenableFuture

suspend fun <T> ListenableFuture<T>.await(): T = TODO()
