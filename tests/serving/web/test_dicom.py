"""The page's modules decode DICOM objects as the service does, to the last bit, and refuse what it refuses."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from serving.errors import ImageError
from serving.imaging import decode, dicom
from tests.serving.imaging.dicom import test_colours as colours
from tests.serving.imaging.dicom.builders import (
    COMPRESSED,
    EXACT,
    RAMP,
    ROOT,
    coded,
    extended_jpeg,
    lossless_jpeg,
    name,
    picture,
    radiograph,
    table,
)
from tests.serving.web import device
from tests.serving.web.device import Decoded

pytestmark = pytest.mark.node

SAMPLES = os.environ.get("DICOM_SAMPLES", "")
NOT_ALIKE = {
    "JPEG Extended with 12 bits, which the device does not read": "with 12 bits is not read here",
    "zeros without end, deflated: both refuse, for other reasons": "(it ends early)",
}
"""What of the DICOM tests' objects is not decoded alike, and the device's message."""


def _region(code: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodeMeaning = code, meaning
    return item


def _cut(share: float, frame: bytes) -> bytes:
    return encapsulate([frame[: int(len(frame) * share)]])


def _instead(frame: bytes, _: bytes) -> bytes:
    return encapsulate([frame])


def _by_syntax() -> dict[str, bytes]:
    found = {}
    for syntax in dicom.DECODERS:
        depths = {uid.JPEGBaseline8Bit: [8], uid.JPEGExtended12Bit: [8]}.get(syntax, [8, 12, 16])
        for bits in depths:
            found[f"{name(syntax)} of {bits} bits"] = coded(picture(bits), syntax, bits)
        found[f"{name(syntax)}, inverted"] = coded(picture(8), syntax, 8, PhotometricInterpretation="MONOCHROME1")
    for syntax in EXACT:
        for bits in (8, 12, 16):
            found[f"{name(syntax)} of {bits} bits with a sign"] = coded(picture(bits, True), syntax, bits)
    noise = np.random.default_rng(0).integers(0, 256, (64, 48))
    for syntax in COMPRESSED:
        for share in (0.4, 0.8):
            found[f"{share} of {name(syntax)}"] = coded(noise, syntax, 8, partial(_cut, share))
        found[f"{name(syntax)} in fragments"] = coded(
            noise, syntax, 8, lambda frame: encapsulate([frame], fragments_per_frame=5)
        )
        found[f"{name(syntax)} without a table of offsets"] = coded(
            noise, syntax, 8, lambda frame: encapsulate([frame], has_bot=False)
        )
    return found


def _by_predictor() -> dict[str, bytes]:
    values = picture(12)
    kinds: dict[str, dict[str, Any]] = {"whole": {}, "with restarts": {"lines": 3}, "with a shift": {"shift": 2}}
    frames = {
        f"JPEG Lossless by predictor {number}, {kind}": lossless_jpeg(values, 12, number, **options)
        for number in range(1, 8)
        for kind, options in kinds.items()
    }
    return {title: coded(values, uid.JPEGLossless, 12, partial(_instead, frame)) for title, frame in frames.items()}


def _by_display() -> dict[str, bytes]:
    window: dict[str, Any] = {"WindowCenter": 1500, "WindowWidth": 3000}
    many = np.arange(4096).reshape(64, 64)
    return {
        "range of the pixels": radiograph(many),
        "window": radiograph(many, **window),
        "sigmoid window": radiograph(many, VOILUTFunction="SIGMOID", **window),
        "exact window": radiograph(many, VOILUTFunction="LINEAR_EXACT", **window),
        "narrow window": radiograph(many, WindowCenter=0.5, WindowWidth=1),
        "window that is no number": radiograph(many, **window).replace(b"1500", b"abc "),
        "rescaled": radiograph(many, RescaleSlope="-1.5", RescaleIntercept="12.5").replace(b"12.5", b"12,5"),
        "VOI table": radiograph(many, VOILUTSequence=[table(1000, 12, [4095, 0, 2048])]),
        "modality table": radiograph(many, ModalityLUTSequence=[table(1000, 16, [50, 10, 0])]),
        "padding": radiograph(RAMP, PixelPaddingValue=0),
        "range of padding": radiograph(many, PixelPaddingValue=4000, PixelPaddingRangeLimit=9),
        "sign": radiograph([[65_535, 0, 1]], PixelRepresentation=1, RescaleIntercept=-3, RescaleSlope=2),
        "stored bits at the top": coded(picture(12) << 4, uid.ExplicitVRLittleEndian, 16, BitsStored=12, HighBit=15),
    }


def _by_colours() -> dict[str, bytes]:
    three, photograph = colours.three(), colours.PHOTOGRAPH
    ramp = np.repeat(np.arange(256)[::-1, np.newaxis], 3, axis=1)
    jpeg = encapsulate([colours.saved(three, "JPEG", quality=95)])
    return {
        "equal channels": colours.coloured(three),
        "coloured": colours.coloured(photograph),
        "luminance and chrominance": colours.coloured(colours.ybr(three), PhotometricInterpretation="YBR_FULL"),
        "coloured chrominance": colours.coloured(colours.ybr(photograph), PhotometricInterpretation="YBR_FULL"),
        "palette": colours.coloured(three, colours.GREY.tobytes(), **colours.palette(ramp, 8)),
        "no palette": colours.coloured(three, colours.GREY.tobytes(), PhotometricInterpretation="PALETTE COLOR"),
        "jpeg of colours": colours.coloured(three, jpeg, PhotometricInterpretation="RGB", syntax=uid.JPEGBaseline8Bit),
    }


def _by_fault() -> dict[str, bytes]:
    whole = radiograph()
    deflated = coded(np.random.default_rng(0).integers(0, 256, (64, 48)), uid.DeflatedExplicitVRLittleEndian, 8)
    return {
        "no image": radiograph(Rows=None),
        "no photometric interpretation": radiograph(PhotometricInterpretation=None),
        "an empty photometric interpretation": radiograph(PhotometricInterpretation=""),
        "no bits stored": radiograph(BitsStored=None),
        "no pixels": radiograph(PixelData=None),
        "several frames": radiograph(np.zeros((4, 2)), NumberOfFrames=2, Rows=2),
        "one bit": radiograph(np.zeros((8, 8)), BitsAllocated=1, PixelData=bytes(8)),
        "other photometric interpretation": radiograph(PhotometricInterpretation="HSV"),
        "other size": radiograph(Columns=3),
        "too many pixels": radiograph(Rows=30_000, Columns=30_000),
        "unknown syntax": radiograph().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"),
        "no stream": radiograph(syntax=uid.JPEG2000Lossless, PixelData=encapsulate([b"no image"])),
        "cut in its header": whole[:250],
        "preamble alone": whole[:132],
        "deflated and cut short": deflated[: len(deflated) // 2],
        "deflated and cut in its header": deflated[:500],
    }


def _by_header() -> dict[str, bytes]:
    return {
        "kind and body part": radiograph(
            Modality="DX", BodyPartExamined="hand", PresentationIntentType="FOR PROCESSING"
        ),
        "coded region": radiograph(AnatomicRegionSequence=[_region("T-D9200", "Genou"), _region("K1", "Left ankle")]),
        "data set without a preamble": radiograph()[132:],
        "private elements": radiograph(
            PatientName="A^B", StudyDescription="x" * 200, ReferencedStudySequence=[Dataset()]
        ),
    }


OBJECTS = {**_by_syntax(), **_by_predictor(), **_by_display(), **_by_colours(), **_by_fault(), **_by_header()}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Decoded]:
    """Run the modules on all objects, once."""
    found = device.decode(list(OBJECTS.values()), tmp_path_factory.mktemp("device"))
    return dict(zip(OBJECTS, found, strict=True))


def _of_service(content: bytes) -> decode.Decoded | ImageError:
    try:
        return decode.decode(content)
    except ImageError as error:
        return error


def _same(ours: npt.NDArray[np.number] | None, theirs: npt.NDArray[np.number] | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return np.array_equal(ours, theirs)


def _differences(content: bytes, found: Decoded) -> str:
    """In words, how the device's answer differs from the service's; empty where it does not."""
    ours = _of_service(content)
    code = found.told.get("error", "")
    if isinstance(ours, ImageError):
        other = f"refused as {code or 'nothing'} instead of {ours.code}: {found.told.get('message', '')}"
        return "" if code == ours.code else other
    if code:
        return f"refused: {found.told['message']}"
    if not _same(ours.pixels, found.grey):
        return "other pixels"
    if not _same(ours.values, found.values):
        return "other values"
    return "" if ours.truncated == found.told["truncated"] else "truncated or not"


@pytest.mark.parametrize("object_name", OBJECTS)
def test_the_device_decodes_an_object_as_the_service_does(object_name: str, seen: Mapping[str, Decoded]) -> None:
    assert _differences(OBJECTS[object_name], seen[object_name]) == ""


@pytest.mark.parametrize("object_name", _by_header())
def test_the_device_reads_of_a_header_what_the_service_reads(object_name: str, seen: Mapping[str, Decoded]) -> None:
    ours = decode.inspect(OBJECTS[object_name])
    theirs = seen[object_name].told["header"]
    assert theirs["bodyPart"] == ours.body_part
    assert theirs["modality"] == ours.modality
    assert (theirs["sopInstanceUid"], theirs["sopClassUid"]) == (ours.sop_instance_uid, ours.sop_class_uid)
    assert theirs["forProcessing"] is ours.for_processing


def test_a_jpeg_of_twelve_bits_is_refused_by_name(tmp_path: Path) -> None:
    values = picture(12)
    content = coded(values, uid.JPEGExtended12Bit, 12, lambda _: encapsulate([extended_jpeg(values)]))
    (found,) = device.decode([content], tmp_path)
    assert found.told["error"] == "unsupported_dicom"
    assert "JPEGExtended12Bit" in found.told["message"]


@pytest.mark.skipif(not SAMPLES, reason="DICOM_SAMPLES does not say where the sample objects are")
def test_real_radiographs_have_the_services_pixels(tmp_path: Path) -> None:
    contents = [path.read_bytes() for path in sorted(Path(SAMPLES).glob("*.dcm"))]
    found = device.decode(contents, tmp_path)
    assert [_differences(*pair) for pair in zip(contents, found, strict=True)] == [""] * len(contents)


@pytest.mark.slow
def test_every_object_of_the_dicom_tests_is_decoded_alike(tmp_path: Path) -> None:
    contents = _recorded(tmp_path)
    assert len(contents) > 400
    found = device.decode(contents, tmp_path / "device")
    differing = [_differences(*pair) for pair in zip(contents, found, strict=True)]
    known = [line for line in differing if any(reason in line for reason in NOT_ALIKE.values())]
    assert [line for line in differing if line and line not in known] == []


def _recorded(folder: Path) -> Sequence[bytes]:
    recorded = folder / "recorded"
    recorded.mkdir()
    (folder / "device").mkdir()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "tests.serving.web.recording", "-p", "no:cacheprovider",
         "-m", "not dcmtk and not gdcm", "tests/serving/imaging/dicom"],
        cwd=ROOT, env={**os.environ, "RECORDED": str(recorded)}, check=True, capture_output=True,
    )  # fmt: skip
    return [path.read_bytes() for path in sorted(recorded.iterdir())]
