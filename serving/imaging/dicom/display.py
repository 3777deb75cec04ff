"""Stored values to grey levels (PS3.3, C.11): modality and VOI transformations, photometric interpretation."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

_BLOCK = 1 << 18  # pixels looked up at a time


def grey_levels(stored: npt.NDArray[np.integer], dataset: pydicom.Dataset) -> npt.NDArray[np.uint8]:
    """Grey levels 0 to 255 of stored values, bright bone.

    Computed once for each value that occurs, then looked up: in floating point per pixel they would take much memory.
    """
    native = stored.dtype.newbyteorder("=")
    index = stored.view(stored.dtype.str.replace("i", "u")).reshape(-1)
    blocks = [slice(first, first + _BLOCK) for first in range(0, index.size, _BLOCK)]
    occurs = np.zeros(1 << (8 * native.itemsize), bool)
    for block in blocks:
        occurs[index[block]] = True
    values = np.flatnonzero(occurs)
    table = np.zeros(occurs.size, np.uint8)
    table[values] = _levels(values.astype(f"u{native.itemsize}").view(native).astype(np.int64), dataset)
    grey = np.empty(index.size, np.uint8)
    for block in blocks:
        np.take(table, index[block], out=grey[block], mode="clip")
    return grey.reshape(stored.shape)


def _levels(stored: npt.NDArray[np.int64], dataset: pydicom.Dataset) -> npt.NDArray[np.uint8]:
    levels = np.asarray(np.rint(_display(_modality(stored, dataset), dataset) * 255.0), np.uint8)
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def _modality(stored: npt.NDArray[np.int64], dataset: pydicom.Dataset) -> npt.NDArray[np.float64]:
    """Stored values to modality values (PS3.3, C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return _looked_up(stored, dataset.ModalityLUTSequence[0], dataset)
    if "RescaleSlope" in dataset and "RescaleIntercept" in dataset:
        return np.asarray(stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept), np.float64)
    return stored.astype(np.float64)


def _looked_up(values: npt.NDArray[Any], table: pydicom.Dataset, dataset: pydicom.Dataset) -> npt.NDArray[np.float64]:
    """`values` through a modality or VOI LUT; values outside the table take its first or last entry (C.11.1.1)."""
    count, first = int(table.LUTDescriptor[0]) or 1 << 16, int(table.LUTDescriptor[1])
    entries = table.LUTData
    if isinstance(entries, bytes):
        words = np.frombuffer(entries, "<u2" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">u2")
        packed = len(words) < count  # entries of eight bits, two in a word
        entries = words.astype("<u2").view(np.uint8) if packed else words
    entries = np.atleast_1d(np.asarray(entries, np.float64))[:count]
    return np.asarray(entries[np.clip(np.rint(values) - first, 0, len(entries) - 1).astype(np.int64)], np.float64)


def _display(values: npt.NDArray[np.float64], dataset: pydicom.Dataset) -> npt.NDArray[np.float64]:
    """Modality values to display values in [0, 1]."""
    if dataset.get("VOILUTSequence"):
        table = dataset.VOILUTSequence[0]
        bits = int(table.LUTDescriptor[2]) or 16
        return np.asarray(np.clip(_looked_up(values, table, dataset) / (2**bits - 1), 0, 1), np.float64)
    center, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if center is None or width is None or width <= 0:
        low, high = float(values.min()), float(values.max())
        return np.asarray((values - low) / max(high - low, 1e-9), np.float64)
    function = str(dataset.get("VOILUTFunction", "LINEAR"))
    if function == "SIGMOID":
        exponent = np.clip(-4.0 * (values - center) / width, -700, 700)  # beyond it a float64 overflows
        return np.asarray(1.0 / (1.0 + np.exp(exponent)), np.float64)
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0, 1)
    if width <= 1:
        return np.asarray(values > center - 0.5, np.float64)  # a threshold, by the limits of the formula (C.11.2.1.2.1)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0, 1)


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, (int, float, str)) else next(iter(value), 0))
