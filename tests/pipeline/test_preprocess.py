"""Stage preprocess: the arrays are what the service would see, and every box lies where the fracture is."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from pipeline import preprocess
from pipeline.data import layout, pixel_cache, prepared, scan
from pipeline.data.layout import Dataset
from pipeline.data.pixel_cache import PreparedFile
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.params import CanonicalParams, PreprocessParams
from pipeline.preprocess import Preparation
from serving.imaging.canvas import Preprocessing
from serving.imaging.model_input import prepare

MakeData = Callable[..., Dataset]
Draw = Callable[..., npt.NDArray[np.uint8]]
Encode = Callable[..., bytes]

OPTIONS = PreprocessParams(image_size=32)
IDS = [f"i{number:02d}" for number in range(20)]


def image_table(data: Dataset) -> pd.DataFrame:
    """What validate would have written of a data set without groups or faults."""
    table = data.labels.assign(listed="yes", excluded="", group=data.labels["image_id"], decoded="whole")
    table["sha256"] = [
        preprocess.hashlib.sha256((data.folder / file).read_bytes()).hexdigest() for file in table["file"]
    ]
    return table


def run(folder: Path, data: Dataset, table: pd.DataFrame | None = None, options: Any = OPTIONS) -> Prepared:
    folder.mkdir(exist_ok=True)
    preprocess.preprocess(data, image_table(data) if table is None else table, options, folder)
    return prepared.load(folder)


@pytest.fixture
def data(tmp_path: Path, make_data: MakeData) -> Dataset:
    return make_data(tmp_path / "data", {image_id: {} for image_id in IDS})


# The test set of another split


def with_test_set(folder: Path, ids: Iterable[str]) -> PreprocessParams:
    path = folder / "split.csv"
    path.write_text("image_id,part\n" + "".join(f"{image_id},test\n" for image_id in ids))
    return PreprocessParams(image_size=32, test_set=str(path))


def test_the_test_set_of_another_split_is_taken_over(data: Dataset, tmp_path: Path) -> None:
    result = run(tmp_path / "prepared", data, options=with_test_set(tmp_path, IDS[:4]))
    assert list(result.table["image_id"][result.table["part"] == "test"]) == IDS[:4]


def test_relatives_of_that_test_set_are_in_no_part_and_counted(data: Dataset, tmp_path: Path) -> None:
    table = image_table(data).assign(group=lambda images: images["image_id"].replace({"i09": "i01", "i11": "i10"}))
    result = run(tmp_path / "prepared", data, table, with_test_set(tmp_path, IDS[:4]))
    assert set(result.table["image_id"]) == {*IDS} - {"i09"}
    record = json.loads((tmp_path / "prepared" / "prepared.json").read_text())["test_set"]
    sha256 = hashlib.sha256((tmp_path / "split.csv").read_bytes()).hexdigest()
    assert record == {"file": str(tmp_path / "split.csv"), "sha256": sha256, "missing": 0, "left_out": 1}


def test_images_of_that_test_set_that_are_not_here_are_counted(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "prepared", data, options=with_test_set(tmp_path, [*IDS[:4], "gone"]))
    assert "warning: 1 of the 5 images of that test set are not in data/" in capsys.readouterr().out


def test_a_test_set_of_other_data_is_refused(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no image of this test set"):
        run(tmp_path / "prepared", data, options=with_test_set(tmp_path, ["gone"]))


# Pixels


def test_the_images_are_what_the_service_would_see(data: Dataset, tmp_path: Path) -> None:
    result = run(tmp_path / "prepared", data)
    for pixels, file in zip(result.images, data.labels["file"], strict=True):
        np.testing.assert_array_equal(pixels, prepare((data.folder / file).read_bytes(), Preprocessing(32)).pixels)


def test_noise_is_handled_as_the_parameters_say(data: Dataset, tmp_path: Path) -> None:
    options = PreprocessParams(image_size=32, denoise="median", clahe=True)
    result = run(tmp_path / "prepared", data, options=options)
    content = (data.folder / "images" / "i00.png").read_bytes()
    np.testing.assert_array_equal(result.images[0], prepare(content, Preprocessing(32, "median", True)).pixels)
    assert result.preprocessing == Preprocessing(32, "median", True)


def test_the_images_are_a_plain_npy_file(data: Dataset, tmp_path: Path) -> None:
    run(tmp_path / "prepared", data)
    images = np.load(tmp_path / "prepared" / "images.npy", allow_pickle=False)
    assert (images.shape, images.dtype, images.flags.c_contiguous) == ((20, 32, 32), np.uint8, True)


def test_more_images_than_one_chunk_keep_their_order(tmp_path: Path, encode: Encode) -> None:
    shades = list(range(200))
    paths = [tmp_path / f"{shade}.png" for shade in shades]
    for path, shade in zip(paths, shades, strict=True):
        path.write_bytes(encode(np.full((4, 4), shade, np.uint8)))
    places = preprocess.write_images(paths, Preparation(Preprocessing(32)), tmp_path / "images.npy")
    assert np.load(tmp_path / "images.npy")[:, 16, 16].tolist() == shades
    assert len(places) == 200


def test_what_validate_kept_is_not_decoded_again(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(tmp_path / "plain", data)
    with pixel_cache.filling(Preprocessing(32), tmp_path / "cache") as writer:
        scan.scan_files([data.folder / file for file in data.labels["file"]], writer=writer)
    monkeypatch.setattr(preprocess.model_input, "prepare", None)
    (tmp_path / "kept").mkdir()
    preprocess.preprocess(data, image_table(data), OPTIONS, tmp_path / "kept", tmp_path / "cache")
    for file in (tmp_path / "plain").iterdir():
        assert (tmp_path / "kept" / file.name).read_bytes() == file.read_bytes(), file.name
    assert len(plain.images) == len(IDS)


def test_a_slow_disk_is_not_run_ahead_of(tmp_path: Path, encode: Encode, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Counting(Preparation):
        def prepare(self, path: Path, sha256: str = "") -> PreparedFile:
            started.append(path)
            return super().prepare(path, sha256)

    monkeypatch.setattr(preprocess.os, "sched_getaffinity", lambda pid: {0})
    (tmp_path / "one.png").write_bytes(encode(np.zeros((1, 1), np.uint8)))
    files = preprocess.prepare_files([tmp_path / "one.png"] * 640, Counting(Preprocessing(32)))
    next(files)
    time.sleep(0.5)  # long enough for a single core to prepare them all
    assert len(started) <= 3 * preprocess._CHUNK
    assert len(list(files)) == 639


def test_the_rows_are_sorted_by_image_id_and_without_the_excluded(data: Dataset, tmp_path: Path) -> None:
    table = image_table(data).iloc[::-1]
    table.loc[table["image_id"] == "i03", "excluded"] = "blank"
    path = tmp_path / "images.csv"
    path.write_text(table.to_csv(index=False))
    assert preprocess.read_image_table(path)["image_id"].to_list() == [name for name in IDS if name != "i03"]


def test_a_missing_image_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"images.csv: not found; `dvc repro validate` writes it"):
        preprocess.read_image_table(tmp_path / "images.csv")


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.write_text("x")])
def test_a_file_that_changed_since_validation_is_named(
    change: Callable[[Path], Any], data: Dataset, tmp_path: Path
) -> None:
    table = image_table(data)
    change(data.folder / "images" / "i05.png")
    with pytest.raises(InputError, match=r"images/i05.png: changed since validation .* run `dvc repro` again"):
        run(tmp_path / "prepared", data, table)


# Boxes


@pytest.mark.parametrize("size", [(400, 200), (200, 400), (300, 300), (64, 37)], ids=str)
def test_a_box_lies_on_the_canvas_where_its_pixels_are(
    size: tuple[int, int], tmp_path: Path, make_data: MakeData, encode: Encode
) -> None:
    width, height = size
    pixels = np.zeros((height, width), np.uint8)
    x0, y0, x1, y1 = round(0.25 * width), round(0.5 * height), round(0.75 * width), round(0.875 * height)
    pixels[y0:y1, x0:x1] = 255
    box = (x0 / width, y0 / height, x1 / width, y1 / height, "fractured")
    images: dict[str, dict[str, Any]] = {image_id: {} for image_id in IDS}
    images["i07"] = {"content": encode(pixels), "boxes": [box], "label": "fractured"}
    result = run(tmp_path / "prepared", make_data(tmp_path / "data", images), options=PreprocessParams(image_size=64))
    rows, columns = np.nonzero(result.images[7] > 127)
    found = [columns.min() / 64, rows.min() / 64, (columns.max() + 1) / 64, (rows.max() + 1) / 64]
    np.testing.assert_allclose(result.boxes_of(7), [found], atol=1 / 64)


def test_a_box_lies_on_its_pixels_after_the_frame_was_left_out(
    tmp_path: Path, make_data: MakeData, encode: Encode
) -> None:
    picture = np.random.default_rng(0).integers(30, 90, (400, 300), dtype=np.uint8)
    picture[100:180, 120:160] = 250
    framed = np.pad(picture, 60, constant_values=255)
    box = (180 / 420, 160 / 520, 220 / 420, 240 / 520, "fractured")
    images: dict[str, dict[str, Any]] = {image_id: {} for image_id in IDS}
    images["i00"] = {"content": encode(framed), "label": "fractured", "boxes": [box]}
    options = PreprocessParams(image_size=160, canonical=CanonicalParams(field=True))
    result = run(tmp_path / "prepared", make_data(tmp_path / "data", images), options=options)
    assert float(result.table["shown_x0"].iloc[0]) == pytest.approx(60 / 420, abs=0.01)
    rows, columns = np.nonzero(result.images[0] > 180)
    found = [columns.min() / 160, rows.min() / 160, (columns.max() + 1) / 160, (rows.max() + 1) / 160]
    np.testing.assert_allclose(result.boxes_of(0), [found], atol=2 / 160)


def test_an_image_without_a_box_has_none(data: Dataset, tmp_path: Path) -> None:
    assert run(tmp_path / "prepared", data).boxes_of(0).shape == (0, 4)


def test_a_box_on_a_turned_image_is_one_of_the_upright_image(
    tmp_path: Path, make_data: MakeData, encode: Encode
) -> None:
    upright = np.zeros((64, 32), np.uint8)
    upright[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    images: dict[str, dict[str, Any]] = {image_id: {} for image_id in IDS}
    lying = encode(np.ascontiguousarray(np.rot90(upright)), exif=exif)
    images["i07"] = {"content": lying, "boxes": [(0, 0, 0.5, 0.25, "fractured")]}
    result = run(tmp_path / "prepared", make_data(tmp_path / "data", images), options=PreprocessParams(image_size=64))
    assert result.boxes_of(7).tolist() == [[0.25, 0, 0.5, 0.25]]
    assert result.images[7][:16, 16:32].min() == 255
    assert np.count_nonzero(result.images[7]) == 256


# Tables


def test_the_table_tells_class_part_and_place(data: Dataset, tmp_path: Path) -> None:
    result = run(tmp_path / "prepared", data)
    row = result.table.iloc[1]
    assert (row["index"], row["image_id"], row["label"], row["class"]) == (1, "i01", "fractured", 1)
    assert (row["left"], row["top"], row["width"], row["height"]) == (4, 0, 24, 32)
    assert sorted(np.concatenate([result.rows(part) for part in ("train", "validation", "test")])) == list(range(20))
    assert result.labels(np.array([0, 1])).tolist() == [0, 1]


def test_the_sources_own_columns_become_slices(tmp_path: Path, make_data: MakeData) -> None:
    images = {image_id: {"scanner": f"s{number % 3}", "note": f"n{number}"} for number, image_id in enumerate(IDS)}
    result = run(tmp_path / "prepared", make_data(tmp_path / "data", images))
    assert prepared.slices_of(result.table) == ["scanner"]


# Hashes


@pytest.fixture
def hashes(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Give a function that prepares a table in a folder of its own and returns the three hashes."""
    runs = iter(range(10))

    def hashes_of(data: Dataset, table: pd.DataFrame | None = None, options: Any = OPTIONS) -> dict[str, str]:
        folder = tmp_path / f"run{next(runs)}"
        run(folder, data, table, options)
        meta = json.loads((folder / "prepared.json").read_text())
        return {key: meta[key] for key in ("data_hash", "split_hash", "test_hash")}

    return hashes_of


Hashes = Callable[..., dict[str, str]]


def test_the_same_data_give_the_same_files(data: Dataset, tmp_path: Path) -> None:
    for name in ("first", "second"):
        run(tmp_path / name, data)
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()


def test_the_hashes_do_not_depend_on_the_order_of_rows(data: Dataset, hashes: Hashes) -> None:
    backwards = image_table(data).iloc[::-1].reset_index(drop=True)
    assert hashes(data, backwards) == hashes(data)


def test_the_hashes_do_not_depend_on_names_of_files(data: Dataset, hashes: Hashes) -> None:
    before = hashes(data)
    table = image_table(data)
    (data.folder / "images" / "i00.png").rename(data.folder / "images" / "other.png")
    table["file"] = table["file"].replace("images/i00.png", "images/other.png")
    assert hashes(data, table) == before


def test_other_pixels_change_the_hash_of_the_data(data: Dataset, hashes: Hashes, draw: Draw, encode: Encode) -> None:
    before = hashes(data)
    (data.folder / "images" / "i00.png").write_bytes(encode(draw(99)))
    assert hashes(data)["data_hash"] != before["data_hash"]


def test_another_label_changes_the_hash_of_the_data(data: Dataset, hashes: Hashes) -> None:
    table = image_table(data)
    table.loc[0, "label"] = "fractured"
    assert hashes(data, table)["data_hash"] != hashes(data)["data_hash"]


def test_another_split_changes_the_hash_of_the_split_only(data: Dataset, hashes: Hashes) -> None:
    first, second = (hashes(data, options=PreprocessParams(image_size=32, seed=seed)) for seed in (1, 2))
    assert first["split_hash"] != second["split_hash"]
    assert first["data_hash"] == second["data_hash"]


def test_another_fold_keeps_the_hash_of_the_test_set(data: Dataset, hashes: Hashes) -> None:
    first, second = (hashes(data, options=PreprocessParams(image_size=32, folds=2, fold=fold)) for fold in (0, 1))
    assert first["split_hash"] != second["split_hash"]
    assert first["test_hash"] == second["test_hash"]


def test_another_label_in_the_test_set_changes_its_hash(data: Dataset, tmp_path: Path) -> None:
    table = pd.DataFrame({"sha256": ["a", "b"], "label": ["normal", "fractured"]})
    other = pd.DataFrame({"sha256": ["a", "b"], "label": ["fractured", "normal"]})
    columns = ["sha256", "label"]
    assert preprocess.content_hash(table, columns) != preprocess.content_hash(other, columns)


# The stage


def run_stage(project: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "reports").mkdir(exist_ok=True)
    (project / "reports" / "images.csv").write_text(image_table(data).to_csv(index=False))
    (project / "params.yaml").write_text("preprocess: {image_size: 32}")
    monkeypatch.chdir(project)
    preprocess.main()


def test_the_stage_writes_prepared_and_counts_the_parts(
    project: Path, make_data: MakeData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage(project, make_data(project / "data", {image_id: {} for image_id in IDS}), monkeypatch)
    assert len(prepared.load(project / "prepared").images) == 20
    assert "test: 4 images in 4 groups (" in capsys.readouterr().out


def test_a_stage_that_fails_keeps_the_old_folder(
    project: Path, make_data: MakeData, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(project / "data", {image_id: {} for image_id in IDS})
    run_stage(project, data, monkeypatch)
    before = {path.name: path.read_bytes() for path in (project / "prepared").iterdir()}
    (project / "data" / "images" / "i19.png").unlink()
    with pytest.raises(InputError, match=r"i19\.png: changed since validation"):
        preprocess.main()
    assert {path.name: path.read_bytes() for path in (project / "prepared").iterdir()} == before


@pytest.mark.parametrize("name", ["images.npy", "split.csv", "boxes.csv"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_folder_is_refused(name: str, damage: Callable[[Path], Any], data: Dataset, tmp_path: Path) -> None:
    run(tmp_path / "prepared", data)
    damage(tmp_path / "prepared" / name)
    with pytest.raises(InputError, match="dvc repro"):
        prepared.load(tmp_path / "prepared")


def test_fewer_images_than_rows_are_refused(data: Dataset, tmp_path: Path) -> None:
    run(tmp_path / "prepared", data)
    np.save(tmp_path / "prepared" / "images.npy", np.zeros((19, 32, 32), np.uint8))
    with pytest.raises(InputError, match=r"images\.npy has the shape \(19, 32, 32\), but split\.csv 20 rows"):
        prepared.load(tmp_path / "prepared")


def test_an_images_file_cut_short_is_refused(data: Dataset, tmp_path: Path) -> None:
    run(tmp_path / "prepared", data)
    path = tmp_path / "prepared" / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="dvc repro"):
        prepared.load(tmp_path / "prepared")


def test_a_table_that_lacks_a_column_is_refused(data: Dataset, tmp_path: Path) -> None:
    run(tmp_path / "prepared", data)
    (tmp_path / "prepared" / "split.csv").write_text("index,image_id\n")
    with pytest.raises(InputError, match="dvc repro preprocess"):
        prepared.load(tmp_path / "prepared")


def test_what_is_prepared_was_read_from_the_data_folder(data: Dataset, tmp_path: Path) -> None:
    result = run(tmp_path / "prepared", layout.read(data.folder))
    facts = {"name": "shapes", "version": "1", "source": "drawn", "licence": "CC0", "citation": "nobody"}
    assert result.dataset.model_dump() == facts
    assert result.classes == ("normal", "fractured")


@pytest.mark.parametrize("damage", ["header only", "other label", "row gone"])
def test_a_table_of_images_that_is_not_of_this_data_set_is_refused(data: Dataset, tmp_path: Path, damage: str) -> None:
    table = data.labels.assign(excluded="", group=data.labels["image_id"], sha256="x")
    if damage == "header only":
        table = table.iloc[:0]
    elif damage == "other label":
        table = table.replace({"label": {"fractured": "broken"}})
    else:
        table = table.iloc[1:]
    path = tmp_path / "images.csv"
    path.write_text(table.to_csv(index=False))
    with pytest.raises(InputError, match="dvc repro -f validate"):
        preprocess.check_image_table(path, preprocess.read_image_table(path), data)


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("split.csv", (",part,", ",share,"), "lacks the column part"),
        ("split.csv", (",test,", ",train,"), "no image in the part test"),
        ("boxes.csv", ("index,", "number,"), "boxes.csv lacks the column index"),
        ("prepared.json", ("test_hash", "other_hash"), "test_hash: is missing"),
        ("prepared.json", ('"image_size": 32', '"image_size": 64'), "has the shape"),
    ],
)
def test_files_of_prepared_that_do_not_fit_together_are_refused(
    data: Dataset, tmp_path: Path, name: str, change: tuple[str, str], fault: str
) -> None:
    run(tmp_path / "prepared", data)
    path = tmp_path / "prepared" / name
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(InputError, match=re.escape(fault)):
        prepared.load(tmp_path / "prepared")
