// A declaration of what docs/mobile.md calls, for the compiler alone.

package org.json

class JSONArray() {
    constructor(copyFrom: Collection<*>) : this()

    fun getInt(index: Int): Int = TODO()

    fun put(value: Double): JSONArray = TODO()
}

class JSONObject() {
    constructor(json: String) : this()

    fun put(name: String, value: Int): JSONObject = TODO()

    fun put(name: String, value: Any?): JSONObject = TODO()

    fun has(name: String): Boolean = TODO()

    fun getString(name: String): String = TODO()

    fun getInt(name: String): Int = TODO()

    fun getJSONObject(name: String): JSONObject = TODO()

    fun getJSONArray(name: String): JSONArray = TODO()

    fun keys(): Iterator<String> = TODO()

    companion object {
        fun quote(data: String): String = TODO()
    }
}
