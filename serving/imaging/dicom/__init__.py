"""DICOM objects to grey pixels.

bare.py         data sets without preamble or meta information are recognised
dataset.py      bytes to a data set, bounded in time and memory
syntaxes.py     which decoder reads which transfer syntax
codestreams.py  headers of JPEG, JPEG-LS and JPEG 2000 streams, checked before a decoder sees them
fragments.py    encapsulated pixel data to a frame, and its codec where the object does not name it
rle.py lossless.py extended.py  decoders of this package
stored.py       a data set to stored values
display.py      stored values to grey levels: modality and VOI transformations, photometric interpretation
objects.py      the whole path: `inspect` and `decode`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from serving.imaging.dicom.prefix import is_dicom

if TYPE_CHECKING:
    from serving.imaging.dicom.dataset import PixelElement, read, read_whole
    from serving.imaging.dicom.fragments import syntax_of
    from serving.imaging.dicom.objects import Shown, decode, inspect
    from serving.imaging.dicom.syntaxes import DECODERS

__all__ = [
    "DECODERS", "PixelElement", "Shown", "decode", "inspect", "is_dicom", "load", "read", "read_whole", "syntax_of",
]  # fmt: skip

_HOMES = {
    "DECODERS": "syntaxes",
    "PixelElement": "dataset",
    "Shown": "objects",
    "decode": "objects",
    "inspect": "objects",
    "read": "dataset",
    "read_whole": "dataset",
    "syntax_of": "fragments",
}


def __getattr__(name: str) -> Any:
    """Load pydicom with the first DICOM object: it takes 0.7 s, which a service that starts does not need to wait."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def load() -> None:
    """Import what the first DICOM object needs, ahead of it."""
    for module in set(_HOMES.values()):
        import_module(f"{__name__}.{module}")
