// GoldenKt PNG ...: the SHA-256 of the grey levels that the Kotlin of docs/mobile.md makes of each picture.

import java.io.File
import java.security.MessageDigest
import javax.imageio.ImageIO

fun main(paths: Array<String>) {
    for (path in paths) {
        val picture = ImageIO.read(File(path))
        // Not getRGB, with which Java brings grey pictures into another colour space, as Android does not.
        val levels = picture.raster.getSamples(0, 0, picture.width, picture.height, 0, null as IntArray?)
        val colours = IntArray(levels.size) { at -> 0x010101 * levels[at] }
        val digest = MessageDigest.getInstance("SHA-256").digest(greyOf(colours))
        println(digest.joinToString("") { "%02x".format(it) })
    }
}
