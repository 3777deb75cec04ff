"""What sort of image a file is, from its first bytes."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def sniff(content: bytes) -> str | None:
    """The suffix that goes with an image's bytes (`.jpg`, `.png`, `.bmp`, `.tif`, `.dcm`), None when unknown."""
    if content[128:132] == b"DICM":
        return ".dcm"
    signatures = {
        b"\xff\xd8\xff": ".jpg",
        PNG_SIGNATURE: ".png",
        b"BM": ".bmp",
        b"II*\0": ".tif",
        b"MM\0*": ".tif",
    }
    return next((suffix for signature, suffix in signatures.items() if content.startswith(signature)), None)
