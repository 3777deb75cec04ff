"""A service without the extra: it starts and answers, and says in one line what a store would need."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
_WITHOUT = """
import sys
for name in ("sqlalchemy", "alembic", "psycopg"):
    sys.modules[name] = None
"""


def _run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT + code, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_service_without_a_store_answers(bundle_folder: Path) -> None:
    code = """
from pathlib import Path
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient
from serving import bundle
from serving.http.admission import Engine
from serving.http.app import create_app
from serving.http.settings import Settings
app = create_app()
folder = Path(sys.argv[1])
app.state.engine = Engine(bundle.read(folder), Settings(), CollectorRegistry())
image = sorted((folder / "samples").iterdir())[0].read_bytes()
print("status", TestClient(app).post("/predict", files={"image": image}).status_code)
app.state.engine.close()
"""
    done = _run(code, str(bundle_folder))
    assert "status 200" in done.stdout, done.stderr


def test_a_store_without_the_extra_is_one_line() -> None:
    code = """
from serving.http.keeping import open_database
try:
    open_database("sqlite://")
except Exception as error:
    print(type(error).__name__, error)
"""
    said = _run(code).stdout
    assert said.startswith("SettingsError FRACTURE_STORE_URL: ")
    assert said.strip().endswith("install the packages of locks/store.txt")


@pytest.mark.parametrize("module", ["serving.http.app", "serving.http.keeping", "pipeline.cli.serve"])
def test_importing_loads_no_database(module: str) -> None:
    code = f"import sys, {module}; print(sorted(n for n in sys.modules if n in ('sqlalchemy', 'alembic', 'psycopg')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_extras_lock_holds_the_services_own_packages_in_the_same_versions() -> None:
    def pins(name: str) -> set[str]:
        lines = (ROOT / "locks" / name).read_text().splitlines()
        return {line.split(" ")[0] for line in lines if line[:1].isalpha()}

    service, store, full = pins("service.txt"), pins("store.txt"), pins("full.txt")
    assert service < store
    assert {pin.partition("==")[0] for pin in store - service} >= {"sqlalchemy", "alembic", "psycopg"}
    assert store - full <= service - full
