"""Stored values to grey levels (PS3.3, C.11): modality and VOI transformations, photometric interpretation."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

_Voi = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]
_BLOCK = 1 << 18  # pixels looked up at a time


def occurring(stored: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """The values that occur among stored ones, each once: all that is to be known of an object's millions of pixels."""
    native, index = stored.dtype.newbyteorder("="), _unsigned(stored)
    occurs = np.zeros(1 << (8 * native.itemsize), bool)
    for block in _blocks(index):
        occurs[index[block]] = True
    return np.flatnonzero(occurs).astype(f"u{native.itemsize}").view(native).astype(np.int64)


def grey_levels(
    stored: npt.NDArray[np.integer], dataset: pydicom.Dataset, values: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.uint8]:
    """Grey levels 0 to 255 of stored values, bright bone; `values` are those that occur, if the caller has them.

    Computed once for each value that occurs, then looked up: in floating point per pixel they would take much memory.
    """
    values = occurring(stored) if values is None else values
    index = _unsigned(stored)
    table = np.zeros(1 << (8 * stored.dtype.itemsize), np.uint8)
    table[values % table.size] = _levels(values, dataset)
    grey = np.empty(index.size, np.uint8)
    for block in _blocks(index):
        np.take(table, index[block], out=grey[block], mode="clip")
    return grey.reshape(stored.shape)


def _unsigned(stored: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Stored values as places in a table, (n,)."""
    return stored.view(stored.dtype.str.replace("i", "u")).reshape(-1)


def _blocks(index: npt.NDArray[np.integer]) -> list[slice]:
    return [slice(first, first + _BLOCK) for first in range(0, index.size, _BLOCK)]


def _levels(stored: npt.NDArray[np.int64], dataset: pydicom.Dataset) -> npt.NDArray[np.uint8]:
    padding = _padding(stored, dataset)
    levels = np.asarray(np.rint(_display(_modality(stored, dataset), dataset, ~padding) * 255.0), np.uint8)
    return np.where(padding, 0, 255 - levels if _is_inverted(dataset) else levels).astype(np.uint8)


def unmapped(
    stored: npt.NDArray[np.integer], dataset: pydicom.Dataset, values: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.integer] | None:
    """Values whose brightness the object leaves open: more than eight bits, and neither window nor table to show them.

    Bright bone, in the order and mostly in the type of the stored values; padding has the darkest of the other values.
    None where the object says how it is shown. `values` are the stored ones that occur, if the caller has them.
    """
    if stored.dtype.itemsize < 2 or _table(dataset, "ModalityLUTSequence"):
        return None
    values = occurring(stored) if values is None else values
    padding = _padding(values, dataset)
    shown = values[~padding]
    if _shows(shown, dataset):
        return None
    is_turned = _is_inverted(dataset) != ((_number(dataset, "RescaleSlope") or 1.0) < 0)
    bright = ~stored if is_turned else stored
    if not padding.any():
        return bright
    darkest = ~shown.max() if is_turned else shown.min()
    return np.where(_padding(stored, dataset), bright.dtype.type(darkest), bright)


def _is_inverted(dataset: pydicom.Dataset) -> bool:
    return str(dataset.PhotometricInterpretation) == "MONOCHROME1"


def _padding(stored: npt.NDArray[np.integer], dataset: pydicom.Dataset) -> npt.NDArray[np.bool_]:
    """Where pixels only fill the rectangle (PS3.3, C.7.5.1.1.2); nowhere, where that would be everywhere."""
    ends = [_pixel_value(dataset, keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    given = [end for end in ends if end is not None]
    if ends[0] is None:
        return np.zeros(stored.shape, np.bool_)
    found = (stored >= min(given)) & (stored <= max(given))
    return found if not found.all() else np.zeros(stored.shape, np.bool_)


def _pixel_value(dataset: pydicom.Dataset, keyword: str) -> int | None:
    """A value in the pixels' own type, whatever the VR says of its sign; None where there is none to be used."""
    bits = int(dataset.BitsAllocated)
    try:
        value = int(np.atleast_1d(dataset[keyword].value)[0]) % (1 << bits)
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return value - (1 << bits) if dataset.get("PixelRepresentation") and value >= 1 << (bits - 1) else value


def _modality(stored: npt.NDArray[np.int64], dataset: pydicom.Dataset) -> tuple[npt.NDArray[np.float64], bool]:
    """Stored values to modality values (PS3.3, C.11.1), and whether any modality value could be negative."""
    signed = bool(dataset.get("PixelRepresentation"))
    table = _table(dataset, "ModalityLUTSequence")
    if table is not None:
        return table.look_up(stored, signed), False
    slope, intercept = _number(dataset, "RescaleSlope") or 1.0, _number(dataset, "RescaleIntercept") or 0.0
    bits = int(dataset.BitsStored)
    low = -(1 << (bits - 1)) if signed else 0
    lowest = min(slope * value + intercept for value in (low, low + (1 << bits) - 1))
    return np.asarray(stored * slope + intercept, np.float64), lowest < 0


def _shows(stored: npt.NDArray[np.int64], dataset: pydicom.Dataset) -> bool:
    """Whether the object has a table or window that shows anything of these values."""
    if _table(dataset, "VOILUTSequence") is None and _window(dataset) is None:
        return False
    values, signed = _modality(np.array([stored.min(), stored.max()]), dataset)
    return _voi(dataset, signed, float(values.min()), float(values.max())) is not None


def _window(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    """Center and width of the first window; None where there is none that can be used."""
    center, width = _number(dataset, "WindowCenter"), _number(dataset, "WindowWidth")
    return None if center is None or width is None or width <= 0 else (center, width)


def _display(
    modality: tuple[npt.NDArray[np.float64], bool], dataset: pydicom.Dataset, counts: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Modality values to display values in [0, 1]; `counts` tells which of them are no padding."""
    values, signed = modality
    low, high = float(values[counts].min()), float(values[counts].max())
    voi = _voi(dataset, signed, low, high)
    if voi is not None:
        return voi(values)
    return np.asarray(np.clip((values - low) / max(high - low, 1e-9), 0, 1), np.float64)


def _voi(dataset: pydicom.Dataset, signed: bool, low: float, high: float) -> _Voi | None:
    """The table, or else the window, that shows modality values from `low` to `high`.

    None where there is none, or where these values all lie beyond it, so that it would show them as one shade.
    """
    table = _table(dataset, "VOILUTSequence")
    if table is not None and (low == high or not table.is_flat(low, high, signed)):
        return lambda values: np.asarray(np.clip(table.look_up(values, signed) / table.white, 0, 1), np.float64)
    window = _window(dataset)
    if window is None:
        return None
    center, width = window
    function = str(dataset.get("VOILUTFunction") or "").strip().upper()

    def show(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if function == "SIGMOID":
            exponent = np.clip(-4.0 * (values - center) / width, -700, 700)  # beyond it a float64 overflows
            return np.asarray(1.0 / (1.0 + np.exp(exponent)), np.float64)
        # LINEAR is for whole numbers and has no slope at a width of 1 (C.11.2.1.2.1); writers of 0..1 mean
        # LINEAR_EXACT.
        if function == "LINEAR_EXACT" or width <= 1:
            return np.clip((values - center) / width + 0.5, 0, 1)
        return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0, 1)

    darkest, brightest = np.rint(show(np.array([low, high])) * 255)
    return None if low < high and darkest == brightest and darkest in {0, 255} else show


@dataclass(frozen=True)
class _Table:
    """A modality or VOI LUT (C.11.1.1, C.11.2.1.1): entries 0 to 65535, for input values from `first` on."""

    first: int
    bits: int
    entries: npt.NDArray[np.float64]

    @property
    def white(self) -> float:
        """The value shown white: the largest of `bits`, or of the entries where these have fewer or more bits."""
        largest = int(self.entries.max())
        return float(2**self.bits - 1 if largest.bit_length() == self.bits else max(largest, 1))

    def look_up(self, values: npt.NDArray[Any], signed: bool) -> npt.NDArray[np.float64]:
        """The entries for `values`; values outside the table take its first or last entry.

        Writers disagree about the sign of the first value, so the domain of `values` decides.
        """
        return np.asarray(self.entries[self._place(values, signed)], np.float64)

    def is_flat(self, low: float, high: float, signed: bool) -> bool:
        """Whether the values from `low` to `high` all lie before the first entry or behind the last one."""
        places = self._place(np.array([low, high]), signed)
        return bool(places[0] == places[1] and places[0] in {0, len(self.entries) - 1})

    def _place(self, values: npt.NDArray[Any], signed: bool) -> npt.NDArray[np.int64]:
        first = self.first % (1 << 16)
        if signed and first >= 1 << 15:
            first -= 1 << 16
        return np.asarray(np.clip(np.rint(values) - first, 0, len(self.entries) - 1), np.int64)


def _table(dataset: pydicom.Dataset, keyword: str) -> _Table | None:
    """The first table of a sequence; None where there is none that can be used."""
    try:
        item = dataset[keyword].value[0]
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        entries = item.LUTData
    except (KeyError, AttributeError, IndexError, TypeError, ValueError):
        return None
    if entries is None:  # as pydicom reads an element of no bytes
        return None
    count = count % (1 << 16) or 1 << 16
    if isinstance(entries, bytes):
        words = np.frombuffer(
            entries[: len(entries) & ~1], "<u2" if dataset.file_meta.TransferSyntaxUID.is_little_endian else ">u2"
        )
        packed = len(words) < count  # entries of eight bits, two in a word
        entries = words.astype("<u2").view(np.uint8) if packed else words
    found = np.atleast_1d(np.asarray(entries, np.float64))[:count] % (1 << 16)  # unsigned, whatever the VR says
    return _Table(first, bits or 16, found) if found.size else None


def _number(dataset: pydicom.Dataset, keyword: str) -> float | None:
    """The first value of a decimal string; None where it is absent, empty or no finite number."""
    if keyword not in dataset:
        return None
    value = dataset.get_item(keyword).value  # pydicom would raise for text
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    first = text.split("\\")[0] if isinstance(text, str) else next(iter(np.atleast_1d(text)), "")
    try:
        number = float(str(first).strip(" \0").replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
