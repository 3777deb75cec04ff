// A declaration of what docs/mobile.md calls, for the compiler alone.

package androidx.javascriptengine

import android.content.Context
import com.google.common.util.concurrent.ListenableFuture

abstract class JavaScriptIsolate {
    abstract fun evaluateJavaScriptAsync(code: String): ListenableFuture<String>
}

abstract class JavaScriptSandbox {
    abstract fun isFeatureSupported(feature: String): Boolean

    abstract fun createIsolate(): JavaScriptIsolate

    companion object {
        const val JS_FEATURE_EVALUATE_WITHOUT_TRANSACTION_LIMIT = "JS_FEATURE_EVALUATE_WITHOUT_TRANSACTION_LIMIT"

        fun createConnectedInstanceAsync(context: Context): ListenableFuture<JavaScriptSandbox> = TODO()
    }
}
