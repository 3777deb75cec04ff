"""The Kotlin that docs/mobile.md shows is Kotlin, and makes the golden grey levels."""

import json
import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from pipeline.packaging import mobile
from serving import bundle

pytestmark = [pytest.mark.kotlin, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).with_name("kotlin")
LIBRARIES = HERE / "node_modules/kotlin-compiler/lib"
COMPILER = "org.jetbrains.kotlin.cli.jvm.K2JVMCompiler"


def _shown() -> dict[str, str]:
    """The files of Kotlin in the documentation, by their names."""
    text = (ROOT / "docs/mobile.md").read_text(encoding="utf-8")
    parts = re.findall(r"^    // (\w+\.kt)\n((?:    .*\n|\n)+?)(?=^    // \w+\.kt$|^\S)", text, re.MULTILINE)
    return {name: textwrap.dedent(content) for name, content in parts}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile both files, the golden vectors' program, and what stands for the SDKs."""
    folder = tmp_path_factory.mktemp("kotlin")
    for name, content in _shown().items():
        (folder / name).write_text(content)
    sources = [*folder.glob("*.kt"), HERE / "Golden.kt", *sorted((HERE / "sdk").glob("*.kt"))]
    hasty = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # it ends before thorough compilation pays
    done = subprocess.run(
        ["java", *hasty, "-cp", f"{LIBRARIES}/*", COMPILER, "-no-reflect", "-Werror", *sources,
         "-d", folder / "classes"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "classes"


def test_the_kotlin_of_the_documentation_compiles(compiled: Path) -> None:
    assert set(_shown()) == {"Grey.kt", "Fracture.kt"}
    assert {path.stem for path in compiled.glob("*.class")} >= {"GreyKt", "Fracture"}


def test_the_kotlin_makes_the_golden_grey_levels(compiled: Path, tmp_path: Path) -> None:
    mobile.write_app(bundle.read(sorted(ROOT.glob("models/*/bundle"))[0]), tmp_path / "app")
    golden = sorted((tmp_path / "app/golden").glob("*.json"))
    done = subprocess.run(
        ["java", "-cp", f"{compiled}:{LIBRARIES}/kotlin-stdlib.jar", "GoldenKt",
         *(path.with_suffix(".png") for path in golden)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [json.loads(path.read_text())["grey_sha256"] for path in golden]
