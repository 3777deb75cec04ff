"""DICOM objects to grey pixels.

dataset.py      bytes to a data set, bounded in time and memory
syntaxes.py     which decoder reads which transfer syntax
codestreams.py  headers of JPEG, JPEG-LS and JPEG 2000 streams, checked before a decoder sees them
rle.py lossless.py extended.py  decoders of this package
stored.py       a data set to stored values
display.py      stored values to grey levels: modality and VOI transformations, photometric interpretation
objects.py      the whole path: `inspect` and `decode`
"""

from serving.imaging.dicom.dataset import is_dicom
from serving.imaging.dicom.objects import decode, inspect
from serving.imaging.dicom.syntaxes import DECODERS

__all__ = ["DECODERS", "decode", "inspect", "is_dicom"]
