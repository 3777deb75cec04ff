"""Rate of the stages validate and preprocess against bare OpenCV loops (`python -m benchmarks.preprocessing`)."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from benchmarks import measure, pictures
from pipeline import params, preprocess
from pipeline.data import pixel_cache, scan
from pipeline.data.data_docs import publish
from pipeline.data.layout import Dataset
from pipeline.data.validation.expectations import Judge
from pipeline.data.validation.verdict import judge_data
from pipeline.files import project_root, write_text
from pipeline.params import CanonicalParams, Params
from pipeline.preprocess import Preparation
from pipeline.quiet import quiet_import
from serving.imaging.canvas import Preprocessing

TARGET = 0.8
ROUNDS = 5
CLINICAL_COUNT = 200
SIDE = 224
_CHUNK = 64
_PEERS = {
    "imread + resize, defaults": (cv2.IMREAD_COLOR, cv2.INTER_LINEAR),
    "imread grey + resize": (cv2.IMREAD_GRAYSCALE, cv2.INTER_LINEAR),
    "imread grey + resize, INTER_AREA": (cv2.IMREAD_GRAYSCALE, cv2.INTER_AREA),
}
_STAGES = "validate + preprocess, the whole stages"
_FILES = "validate + preprocess, the work on the files"


def bare_loop(paths: Sequence[Path], flag: int, interpolation: int) -> None:
    """What people write to read and resize pictures; a file that OpenCV cannot read is passed over."""
    for path in paths:
        pixels = cv2.imread(str(path), flag)
        if pixels is not None:
            cv2.resize(pixels, (SIDE, SIDE), interpolation=interpolation)


def bare_pool(paths: Sequence[Path], flag: int, interpolation: int, cores: int) -> None:
    """The bare loop over chunks of files on several threads."""
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(lambda chunk: bare_loop(chunk, flag, interpolation), chunks))


def stages(data: Dataset, options: Params, folder: Path) -> None:
    """Both stages as `python -m pipeline.validate` and `python -m pipeline.preprocess` run them, after the imports."""
    shutil.rmtree(folder, ignore_errors=True)
    judge = Judge(folder / "scratch")
    with pixel_cache.filling(_preprocessing(options), folder / "cache") as writer:
        verdict = judge_data(data, options.validate_, judge, writer)
    (folder / "docs").mkdir()
    publish(judge.pages(), "", folder / "docs")
    write_text(folder / "images.csv", verdict.table.to_csv(index=False, lineterminator="\n"))
    (folder / "prepared").mkdir()
    table = preprocess.read_image_table(folder / "images.csv")
    preprocess.preprocess(data, table, options.preprocess, folder / "prepared", folder / "cache")


def files_only(paths: Sequence[Path], options: Params, target: Path) -> None:
    """What both stages do with each file: read, check, describe, decode, letterbox, keep; take up again, write."""
    preprocessing, cache = _preprocessing(options), target.with_name("cache")
    shutil.rmtree(cache, ignore_errors=True)
    with pixel_cache.filling(preprocessing, cache) as writer:
        table, _ = scan.scan_files(list(paths), writer=writer)
    with pixel_cache.opened(preprocessing, cache) as kept:
        preprocess.write_images(paths, Preparation(preprocessing, cache=kept), target, list(table["sha256"]))


def _preprocessing(options: Params) -> Preprocessing:
    return Preprocessing.from_dict(options.preprocess.model_dump())


def without_canonical_form(options: Params) -> Params:
    """Decode and letterbox alone, as the bare loops do; `benchmarks.robustness.steps` times the canonical form."""
    plain = options.preprocess.model_copy(update={"canonical": CanonicalParams()})
    return options.model_copy(update={"preprocess": plain})


def compete(paths: Sequence[Path], ours: Mapping[str, Callable[[], object]], cores: int) -> None:
    """Let ours and the peers take turns on `cores` cores and print the rates."""

    def peer(flag: int, interpolation: int) -> Callable[[], object]:
        if cores == 1:
            return lambda: bare_loop(paths, flag, interpolation)
        return lambda: bare_pool(paths, flag, interpolation, cores)

    contestants = {**ours, **{name: peer(*settings) for name, settings in _PEERS.items()}}
    with measure.on_cores(cores), quiet_import():  # libjpeg names every truncated file on stderr
        seconds = measure.take_turns(contestants, ROUNDS)
    for name, times in seconds.items():
        rates = [len(paths) / value for value in times]
        print(f"  {name:46} {measure.spread(rates)} images/s")
    for own in ours:
        for name in _PEERS:
            quotients = measure.ratios(seconds[name], seconds[own])
            target = measure.verdict(quotients, TARGET)
            print(f"  {own} / {name}: {measure.spread(quotients)}  {target}")
    if _STAGES in ours:
        fixed = [whole - part for whole, part in zip(seconds[_STAGES], seconds[_FILES], strict=True)]
        print(f"  tables, Great Expectations, split, besides the files: {measure.spread(fixed)} s")


def main() -> None:
    """Fill a temporary folder with radiographs and print rates and ratios on one core and on all."""
    cv2.setNumThreads(1)
    options = without_canonical_form(params.load(project_root() / "params.yaml"))
    print(measure.machine(["opencv-python-headless", "great-expectations", "numpy", "pandas"]))
    measure.warn_of_load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = pictures.radiographs(folder / "data")
        paths = [data.folder / file for file in data.labels["file"]]
        large = pictures.clinical(paths, CLINICAL_COUNT, folder / "clinical")
        whole = {
            _STAGES: lambda: stages(data, options, folder / "work"),
            _FILES: lambda: files_only(paths, options, folder / "images.npy"),
        }
        part = {_FILES: lambda: files_only(large, options, folder / "images.npy")}
        for cores in sorted({1, measure.cores()}):
            where = "one core" if cores == 1 else f"all {cores} cores"
            print(
                f"\n{len(paths)} files of {data.info.title()}, {where}; medians of {ROUNDS} rounds (smallest-largest)"
            )
            compete(paths, whole, cores)
            print(f"\n{len(large)} of them enlarged to {pictures.CLINICAL_SIDE} pixels, {where}")
            compete(large, part, cores)


if __name__ == "__main__":
    main()
