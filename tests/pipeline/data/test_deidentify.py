"""What identifies a person leaves the file, the pixels stay."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageFile, PngImagePlugin
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from pipeline.data.deidentify import ORIENTATION, deidentify, dicom_identity, sniff
from pipeline.errors import InputError
from serving.imaging import decode

NAME = b"Doe^Jane"
SAMPLES = os.environ.get("DICOM_SAMPLES", "")
real_data = pytest.mark.skipif(not SAMPLES, reason="DICOM_SAMPLES does not say where the DICOM files are")


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


@pytest.mark.parametrize("marker", [0xE1, 0xE2, 0xED, 0xEF, 0xFE])
def test_a_jpeg_loses_application_segments_and_comments(marker: int) -> None:
    plain = saved(picture(), "JPEG")
    assert deidentify(with_segment(plain, marker, NAME), ".jpg") == plain


def test_a_jpeg_without_metadata_stays_byte_for_byte() -> None:
    plain = saved(picture("RGB"), "JPEG", progressive=True)
    assert deidentify(plain, ".jpg") == plain


def test_a_jpeg_with_restart_markers_keeps_its_scan() -> None:
    plain = saved(picture("RGB", (64, 64)), "JPEG", restart_marker_blocks=1)
    assert deidentify(plain, ".jpg") == plain


@pytest.mark.parametrize("turned", [3, 6, 8])
def test_a_jpeg_keeps_its_orientation_and_nothing_else_of_its_exif(turned: int) -> None:
    content = deidentify(saved(picture(), "JPEG", exif=exif(turned)), ".jpg")
    assert orientation(content) == turned
    assert NAME not in content


def test_an_orientation_that_only_xmp_gives_is_kept() -> None:
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6" who="Doe^Jane"/>'
    content = deidentify(with_segment(saved(picture(), "JPEG"), 0xE1, xmp), ".jpg")
    assert orientation(content) == 6
    assert NAME not in content


def test_the_thumbnail_of_a_jfif_header_is_removed() -> None:
    plain = saved(picture(), "JPEG")
    header = b"JFIF\0\x01\x01\0\0\x01\0\x01\x01\x01" + b"abc"
    assert plain[6:11] == b"JFIF\0"
    content = with_segment(b"\xff\xd8" + plain[20:], 0xE0, header)
    assert deidentify(content, ".jpg") == plain


def test_a_jpeg_keeps_the_adobe_header_that_says_how_its_colours_are_coded() -> None:
    source = saved(Image.merge("CMYK", [picture()] * 4), "JPEG")
    assert b"Adobe" in source
    assert pixels(deidentify(source, ".jpg")) == pixels(source)


def test_what_follows_the_end_of_a_jpeg_is_removed() -> None:
    plain = saved(picture(), "JPEG")
    assert deidentify(plain + NAME, ".jpg") == plain


def test_a_truncated_jpeg_is_kept_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    source = saved(picture(size=(64, 64)), "JPEG", exif=exif())[:-500]
    content = deidentify(source, ".jpg")
    assert NAME not in content
    assert pixels(content) == pixels(source)


def test_a_broken_exif_block_is_removed() -> None:
    plain = saved(picture(), "JPEG")
    assert deidentify(with_segment(plain, 0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"), ".jpg") == plain


def test_a_png_loses_its_text_and_time() -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Patient", NAME.decode())
    notes.add_itxt("Patient", NAME.decode())
    notes.add_text("Patient", NAME.decode(), zip=True)
    notes.add(b"tIME", bytes(7))
    assert deidentify(saved(picture(), "PNG", pnginfo=notes), ".png") == saved(picture(), "PNG")


def test_a_png_keeps_its_orientation_and_nothing_else_of_its_exif() -> None:
    content = deidentify(saved(picture(), "PNG", exif=exif(6)), ".png")
    assert orientation(content) == 6
    assert NAME not in content


def test_a_png_of_16_bit_keeps_its_pixels() -> None:
    source = saved(picture("I;16"), "PNG")
    assert pixels(deidentify(source, ".png")) == pixels(source)


def test_a_truncated_png_is_kept_as_far_as_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    source = saved(picture(size=(64, 64)), "PNG", exif=exif())[:-1500]
    content = deidentify(source, ".png")
    assert NAME not in content
    assert pixels(content) == pixels(source)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_tiff_keeps_its_pixels_and_loses_its_tags(mode: str, compression: str) -> None:
    tags = {270: NAME.decode(), 315: NAME.decode(), 305: NAME.decode()}
    source = saved(picture(mode), "TIFF", compression=compression, tiffinfo=tags)
    content = deidentify(source, ".tif")
    assert NAME in source
    assert NAME not in content
    assert pixels(content) == pixels(source)


def test_a_tiff_of_16_bit_keeps_its_pixels() -> None:
    source = saved(picture("I;16"), "TIFF")
    assert pixels(deidentify(source, ".tif")) == pixels(source)


def test_a_tiff_keeps_its_orientation() -> None:
    assert orientation(deidentify(saved(picture(), "TIFF", tiffinfo={ORIENTATION: 6}), ".tif")) == 6


def test_every_page_of_a_tiff_is_kept() -> None:
    source = saved(picture(), "TIFF", save_all=True, append_images=[picture("RGB")])
    with Image.open(io.BytesIO(deidentify(source, ".tif"))) as image:
        image.seek(1)
        assert image.tobytes() == picture("RGB").tobytes()


@pytest.mark.parametrize("content", [b"II*\0", b"II*\0\x08\0\0\0\0\0\0\0\0\0", b"MM\0*\xff\xff\xff\xff"])
def test_a_broken_tiff_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="broken TIFF"):
        deidentify(content, ".tif")


def test_a_tiff_whose_pages_run_in_a_circle_is_refused() -> None:
    source = bytearray(saved(picture(), "TIFF"))
    start = struct.unpack_from("<I", source, 4)[0]
    (count,) = struct.unpack_from("<H", source, start)
    struct.pack_into("<I", source, start + 2 + 12 * count, start)
    with pytest.raises(InputError, match="broken TIFF"):
        deidentify(bytes(source), ".tif")


def test_a_bmp_stays_as_it_is() -> None:
    source = saved(picture(), "BMP")
    assert deidentify(source, ".bmp") == source


def test_what_follows_the_end_of_a_bmp_is_removed() -> None:
    source = saved(picture(), "BMP")
    assert deidentify(source + NAME, ".bmp") == source


def radiograph(syntax: str = ExplicitVRLittleEndian, **elements: Any) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(syntax)
    meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1")
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset = FileDataset("", {}, file_meta=meta, preamble=NAME.ljust(128, b"\0"))
    table = Dataset()
    table.LUTDescriptor = [2, 0, 16]
    table.LUTExplanation = NAME.decode()
    table.LUTData = struct.pack("<2H", 0, 1)
    values = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2",
        "PatientName": NAME.decode(),
        "PatientID": "4711",
        "Modality": "DX",
        "PhotometricInterpretation": "MONOCHROME1",
        "SamplesPerPixel": 1,
        "Rows": 2,
        "Columns": 3,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "WindowCenter": 2000,
        "WindowWidth": 4000,
        "WindowCenterWidthExplanation": NAME.decode(),
        "RescaleSlope": 2,
        "RescaleIntercept": -5,
        "VOILUTSequence": [table],
        "PixelData": np.arange(6, dtype="<u2").tobytes(),
        **elements,
    }
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    private = dataset.private_block(0x0011, "SOMEBODY", create=True)
    private.add_new(1, "LO", NAME.decode())
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_dicom_file_loses_every_name(syntax: str) -> None:
    content = deidentify(radiograph(syntax), ".dcm")
    assert NAME not in content
    assert b"4711" not in content
    assert b"SOMEBODY" not in content


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_dicom_file_keeps_its_pixels_and_transfer_syntax(syntax: str) -> None:
    result = pydicom.dcmread(io.BytesIO(deidentify(radiograph(syntax), ".dcm")))
    assert result.file_meta.TransferSyntaxUID == syntax
    assert result.PixelData == np.arange(6, dtype="<u2").tobytes()


def test_a_dicom_file_keeps_what_says_how_it_is_shown() -> None:
    result = pydicom.dcmread(io.BytesIO(deidentify(radiograph(), ".dcm")))
    assert (result.PhotometricInterpretation, result.WindowCenter, result.RescaleIntercept) == ("MONOCHROME1", 2000, -5)
    assert result.VOILUTSequence[0].LUTData == struct.pack("<2H", 0, 1)


def test_a_dicom_file_gets_an_identifier_that_depends_on_its_pixels_only() -> None:
    first, second = (deidentify(radiograph(PatientID=number), ".dcm") for number in ("1", "2"))
    assert first == second
    assert pydicom.dcmread(io.BytesIO(first)).SOPInstanceUID != "1.2.3"


def test_a_dicom_file_with_burned_in_text_is_refused() -> None:
    with pytest.raises(InputError, match="text burned into its pixels"):
        deidentify(radiograph(BurnedInAnnotation="YES"), ".dcm")


def encapsulated(*fragments: bytes) -> bytes:
    items = (b"", *fragments)
    return b"".join(b"\xfe\xff\x00\xe0" + struct.pack("<I", len(item)) + item for item in items)


def test_an_odd_fragment_of_compressed_pixels_is_padded_where_it_ends() -> None:
    source = pydicom.dcmread(io.BytesIO(radiograph()))
    source.file_meta.TransferSyntaxUID = JPEG2000Lossless
    source["PixelData"].value = encapsulated(b"abcd")
    source["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, source)
    odd = buffer.getvalue().replace(encapsulated(b"abcd"), encapsulated(b"abc"))
    assert pydicom.dcmread(io.BytesIO(deidentify(odd, ".dcm"))).PixelData == encapsulated(b"abc\0")


@pytest.mark.parametrize("content", [bytes(128) + b"DICM", bytes(128) + b"DICM\x02\0\0\0UL\x04", radiograph()[:-600]])
def test_a_broken_dicom_file_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="DICOM file"):
        deidentify(content, ".dcm")


def test_text_that_calls_itself_dicom_is_refused() -> None:
    with pytest.raises(InputError, match="DICOM file"):
        deidentify(b"this is no image at all", ".dcm")


def test_patient_and_study_of_a_dicom_file_are_read_for_grouping(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(radiograph())
    assert dicom_identity(tmp_path / "a.dcm") == {"patient_id": "4711", "study_id": "1.2"}


@real_data
@pytest.mark.parametrize("name", ["hand_cr_monochrome_jpeg2000.dcm", "tibia_cr_monochrome1_jpeg2000.dcm"])
def test_a_real_compressed_radiograph_decodes_to_the_same_pixels(name: str) -> None:
    source = pydicom.dcmread(Path(SAMPLES) / name)
    result = pydicom.dcmread(io.BytesIO(deidentify((Path(SAMPLES) / name).read_bytes(), ".dcm")))
    assert np.array_equal(result.pixel_array, source.pixel_array)
    assert not {"PatientName", "StudyDate", "InstitutionName"} & set(result.dir())


def test_the_format_is_recognised_by_content_not_by_name() -> None:
    source = saved(picture(), "PNG")
    assert sniff(source) == ".png"
    assert deidentify(source, ".jpg") == source


@pytest.mark.parametrize("content", [b"hello", b"GIF89a", b"RIFF", b"\x00" * 200])
def test_an_unknown_format_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match=r"is no JPEG, PNG, WebP, BMP, TIFF or DICOM image|which is not read; "):
        deidentify(content, ".jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_doing_it_twice_changes_nothing_more(kind: str) -> None:
    once = deidentify(saved(picture(), kind), "")
    assert deidentify(once, "") == once


def test_a_chunk_after_the_end_of_a_png_is_removed() -> None:
    plain = saved(picture(), "PNG")
    chunk = struct.pack(">I", len(NAME)) + b"tEXt" + NAME + struct.pack(">I", zlib.crc32(b"tEXt" + NAME))
    assert deidentify(plain + chunk, ".png") == plain


def cut_short() -> dict[str, bytes]:
    """Objects that lack something, each of which the service reads."""
    whole = radiograph()
    start = whole.index(b"\2\0\x10\0UI")
    length = int.from_bytes(whole[start + 6 : start + 8], "little")
    total = int.from_bytes(whole[140:144], "little") - 8 - length
    pixels = whole.index(b"\xe0\x7f\x10\0OW")
    coloured = radiograph(Rows=1, Columns=2, PhotometricInterpretation="RGB", SamplesPerPixel=3, PlanarConfiguration=0,
                          BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes([9, 9, 9, 50, 50, 50]))  # fmt: skip
    return {
        "bare": whole[144 + int.from_bytes(whole[140:144], "little") :],
        "without preamble": whole[132:],
        "without transfer syntax": whole[:140]
        + struct.pack("<L", total)
        + whole[144:start]
        + whole[start + 8 + length :],
        "cut in a row": whole[:pixels] + radiograph(Rows=3, PixelData=bytes(range(18)))[pixels:-3],
        "grey as colour": coloured,
    }


@pytest.mark.parametrize("kind", cut_short())
def test_an_object_that_lacks_something_shows_the_same_afterwards(kind: str) -> None:
    content = cut_short()[kind]
    np.testing.assert_array_equal(decode.decode(deidentify(content, "")).pixels, decode.decode(content).pixels)


@pytest.mark.parametrize("kind", cut_short())
def test_an_object_that_lacks_something_loses_every_name(kind: str) -> None:
    assert NAME not in deidentify(cut_short()[kind], "")


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_file_loses_its_metadata_and_keeps_pixels_and_orientation(orientation: int, lossless: bool) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E] = orientation, NAME.decode()
    buffer = io.BytesIO()
    xmp = b"<x:xmpmeta>" + NAME + b"</x:xmpmeta>"
    picture("RGB").save(buffer, "WEBP", lossless=lossless, exif=exif, xmp=xmp, icc_profile=NAME * 20)
    content = buffer.getvalue()
    result = deidentify(content + b"tail" + NAME, ".webp")
    assert NAME not in result
    assert decode.inspect(result) == decode.inspect(content)
    np.testing.assert_array_equal(decode.decode(result).pixels, decode.decode(content).pixels)


def test_a_webp_file_without_metadata_is_kept_as_it_is() -> None:
    buffer = io.BytesIO()
    picture("L").save(buffer, "WEBP")
    assert deidentify(buffer.getvalue(), ".webp") == buffer.getvalue()


def test_a_file_that_is_no_image_is_named() -> None:
    with pytest.raises(InputError, match=r"^is a GIF picture, which is not read; save it as PNG$"):
        deidentify(b"GIF89a" + bytes(50), ".jpg")
