"""`fracture export`: files for other systems, each as the registered model answers, or none."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.cli import export as command
from pipeline.data import prepared
from pipeline.data.prepared import Prepared
from pipeline.errors import InputError
from pipeline.evaluation import operating_points
from pipeline.evaluation.records import Metrics
from pipeline.packaging import bundle, conversion, export
from pipeline.packaging.bundle import Registered
from pipeline.packaging.conversion import FORMATS, MAX_DIFFERENCE
from pipeline.registry.records import ModelVersion
from pipeline.training import architectures
from serving.imaging.canvas import Preprocessing
from serving.network import SCORES, Network


@pytest.fixture(scope="module")
def data(trained_folder: Path) -> Prepared:
    return prepared.load(trained_folder / "prepared")


@pytest.fixture(scope="module")
def registered(trained_folder: Path) -> Registered:
    """The small sample's model as the registry would give it."""
    model, training = architectures.load_trained(trained_folder / "build/model")
    return Registered(
        version=ModelVersion("bone-fracture", "4", run_id="", tags={}),
        model=model,
        training=training,
        decision=operating_points.read(trained_folder / "build/decision.json"),
        metrics=Metrics.read(trained_folder / "reports/metrics.json"),
        reference=trained_folder / "build/reference.npz",
    )


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_keras_file_answers_as_the_registered_model(
    registered: Registered, data: Prepared, tmp_path: Path, kind: Any
) -> None:
    import keras

    target = tmp_path / f"model.{kind}"
    done = export.export(registered, data, kind, target)
    images = np.asarray(data.images[:4])[..., np.newaxis]
    loaded = keras.models.load_model(target, compile=False)
    assert np.allclose(loaded.predict_on_batch(images), registered.model.predict_on_batch(images), atol=1e-6)
    assert done.max_difference < 1e-6


@pytest.mark.parametrize("number_format", FORMATS)
def test_a_litert_file_answers_as_the_registered_model_in_every_number_format(
    registered: Registered, data: Prepared, tmp_path: Path, number_format: str
) -> None:
    done = export.export(registered, data, "litert", tmp_path / "model.tflite", [number_format])
    assert done.number_format == number_format
    found = Network(tmp_path / "model.tflite")(np.asarray(data.images[0]))[SCORES]
    wanted = registered.model.predict_on_batch(np.asarray(data.images[:1])[..., np.newaxis])
    assert np.abs(found - wanted).max() <= MAX_DIFFERENCE


@pytest.mark.parametrize("kind", ["keras", "litert"])
def test_a_file_that_answers_differently_is_not_written(
    registered: Registered, data: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    target = tmp_path / f"model{export.SUFFIXES[kind]}"
    target.write_text("of before")
    for module in (conversion, export):
        monkeypatch.setattr(module, "compare", lambda *_: (0.5, 0.0))
    with pytest.raises(InputError, match=r"does not agree with .*: a probability differs by 0\.5"):
        export.export(registered, data, kind, target)
    assert target.read_text() == "of before"
    assert list(tmp_path.iterdir()) == [target]


def test_pixels_prepared_in_another_way_are_one_line(registered: Registered, data: Prepared, tmp_path: Path) -> None:
    other = replace(data, preprocessing=Preprocessing(64))
    with pytest.raises(InputError, match="prepared/: holds images prepared as"):
        export.export(registered, other, "keras", tmp_path / "model.keras")


@pytest.fixture
def run(registered: Registered, trained_folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command in a project whose champion is the small sample's model; its InputErrors are raised."""

    @contextmanager
    def fetched(_: str) -> Iterator[Registered]:
        yield registered

    monkeypatch.setattr(bundle, "fetched", fetched)
    monkeypatch.chdir(project)
    (project / "prepared").symlink_to(trained_folder / "prepared")
    app = typer.Typer()
    app.command()(command.export)

    def call(*arguments: str) -> Result:
        result = CliRunner().invoke(app, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return call


def test_the_command_says_where_the_file_is_how_near_it_comes_and_how_to_calibrate(run: Any, project: Path) -> None:
    printed = run("--format", "h5").stdout
    assert (project / "build/export/bone-fracture-4.h5").is_file()
    for text in ("build/export/bone-fracture-4.h5", "largest difference of a probability", "sigmoid("):
        assert text in printed, text


@pytest.mark.parametrize("name", ["model.keras", "model", "."])
def test_a_file_of_another_name_than_its_format_is_one_line(run: Any, name: str) -> None:
    with pytest.raises(InputError, match=r"--output .* ends in \.h5"):
        run("--format", "h5", "--output", name)


def test_a_number_format_is_for_litert_alone(run: Any) -> None:
    with pytest.raises(InputError, match="--number-format int8: is for --format litert"):
        run("--format", "keras", "--number-format", "int8")


@pytest.mark.parametrize(
    ("option", "line"),
    [(("--number-format", "int8"), "is for --format litert"), (("--model", "models:/a/1"), "made of a bundle")],
)
def test_a_page_takes_no_option_of_a_file(option: tuple[str, str], line: str, run: Any) -> None:
    with pytest.raises(InputError, match=line):
        run("--format", "web", "page", *option)


@pytest.mark.parametrize(("kind", "mark"), [("web", "sw.js"), ("mobile", "fracture.js")])
def test_a_folder_keeps_what_the_command_did_not_write(kind: str, mark: str, run: Any, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in (mark, ".htaccess"):
        (folder / name).touch()
    with pytest.raises(InputError, match=r"would be replaced, with \.htaccess in it"):
        run("--format", kind, str(folder))


def test_the_named_number_format_is_written(run: Any) -> None:
    assert (
        "weights as float16" in run("--format", "litert", "--number-format", "float16", "--output", "m.tflite").stdout
    )
