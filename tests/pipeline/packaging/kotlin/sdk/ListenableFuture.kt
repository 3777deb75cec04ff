// A declaration of what docs/mobile.md calls, for the compiler alone.

package com.google.common.util.concurrent

import java.util.concurrent.Future

interface ListenableFuture<V> : Future<V>
