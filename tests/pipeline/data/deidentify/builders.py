"""Pictures of several formats that name a patient."""

import io
import struct
from typing import Any

import numpy as np
from PIL import Image

from pipeline.data.deidentify import ORIENTATION

NAME = b"Doe^Jane"


def picture(mode: str = "L", size: tuple[int, int] = (24, 16)) -> Image.Image:
    channels = {"L": (), "RGB": (3,), "I;16": ()}[mode]
    top = 60000 if mode == "I;16" else 255
    values = np.random.default_rng(7).integers(0, top, (size[1], size[0], *channels))
    return Image.fromarray(values.astype("uint16" if mode == "I;16" else "uint8"))


def exif(orientation: int = 1) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    tags[0x010E] = NAME.decode()
    return tags.tobytes()


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(content: bytes) -> tuple[str, tuple[int, int], bytes]:
    with Image.open(io.BytesIO(content)) as image:
        return image.mode, image.size, image.tobytes()


def orientation(content: bytes) -> int:
    with Image.open(io.BytesIO(content)) as image:
        return int(image.getexif().get(ORIENTATION, 1))


def with_segment(jpeg: bytes, marker: int, data: bytes) -> bytes:
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data + jpeg[2:]
