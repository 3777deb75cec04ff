"""DICOM objects to grey pixels.

dataset.py      bytes to a data set, bounded in time and memory
syntaxes.py     which decoder reads which transfer syntax
codestreams.py  headers of JPEG, JPEG-LS and JPEG 2000 streams, checked before a decoder sees them
rle.py lossless.py extended.py  decoders of this package
stored.py       a data set to stored values
display.py      stored values to grey levels: modality and VOI transformations, photometric interpretation
objects.py      the whole path: `inspect` and `decode`
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from serving.imaging.dicom.prefix import is_dicom

if TYPE_CHECKING:
    from serving.imaging.dicom.objects import decode, inspect
    from serving.imaging.dicom.syntaxes import DECODERS

__all__ = ["DECODERS", "decode", "inspect", "is_dicom", "load"]

_HOMES = {"DECODERS": "syntaxes", "decode": "objects", "inspect": "objects"}


def __getattr__(name: str) -> Any:
    """Load pydicom with the first DICOM object: it takes 0.7 s, which a service that starts does not need to wait."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def load() -> None:
    """Import what the first DICOM object needs, ahead of it."""
    for module in set(_HOMES.values()):
        import_module(f"{__name__}.{module}")
