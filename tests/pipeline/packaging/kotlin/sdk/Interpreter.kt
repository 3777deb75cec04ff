// A declaration of what docs/mobile.md calls, for the compiler alone.

package org.tensorflow.lite

import java.nio.ByteBuffer

abstract class Tensor {
    abstract fun numBytes(): Int
}

class Interpreter(model: ByteBuffer) {
    val outputTensorCount: Int get() = TODO()

    fun getOutputTensor(index: Int): Tensor = TODO()

    fun runForMultipleInputsOutputs(inputs: Array<Any>, outputs: Map<Int, Any>): Unit = TODO()
}
