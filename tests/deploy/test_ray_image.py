"""The image of a Ray cluster's nodes: started in a root it cannot write, as the job of deploy/ray starts it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from pipeline.cloud import image
from pipeline.packaging.bento import build_bento
from tests.conftest import Once
from tests.deploy.containers import Storage, debian, may_mount, running
from tests.pipeline.archive.conftest import RELEASE, ROOT

TAG = "bone-fracture-ray:test"
pytestmark = [pytest.mark.slow, pytest.mark.container]

_NODE = """
set -eu
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(openssl rand -hex 32) RAY_USE_TLS=1
export RAY_TLS_SERVER_CERT=/tmp/tls.crt RAY_TLS_SERVER_KEY=/tmp/tls.key RAY_TLS_CA_CERT=/tmp/tls.crt
openssl req -x509 -newkey rsa:2048 -nodes -keyout /tmp/tls.key -out /tmp/tls.crt -subj /CN=node \
    -addext subjectAltName=IP:127.0.0.1,IP:127.0.0.2 2>/dev/null
ray start --head --block --port 26379 --node-ip-address 127.0.0.2 --num-cpus 1 --object-store-memory 80000000 \
    --dashboard-host 127.0.0.2 --dashboard-port 28265 --dashboard-agent-listen-port 25365 &
node=$!
trap 'kill $node; wait $node || true' EXIT
answers() { python3 -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1])' "$1" 2>/dev/null; }
until answers http://127.0.0.2:28265/api/gcs_healthz && answers http://127.0.0.2:25365/api/local_raylet_healthz
do kill -0 $node; sleep 1; done
ray health-check --address 127.0.0.2:26379
fracture manifest bundle/samples --out /tmp/manifest.parquet
ray job submit --address http://127.0.0.2:28265 -- \
    fracture score --engine ray --address auto --manifest /tmp/manifest.parquet --out /tmp/out --actors 1 --memory 2
"""


@pytest.fixture(scope="module")
def built(once: Once, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Storage, Path]]:
    """Build the image on a base of Debian's packages; gives its root."""
    folder = tmp_path_factory.mktemp("image")
    build_bento(ROOT, RELEASE, folder / "bento")
    base = once("debian", lambda made: debian(made / "base.tar")) / "base.tar"
    storage = Storage(folder / "storage")
    storage.prepare()
    with mock.patch.dict(os.environ, storage.environment):
        image.build(folder / "bento", TAG, str(base), "buildah", ray=True)
    container = storage.buildah("from", "--pull-never", TAG)
    yield storage, Path(storage.buildah("mount", container))
    image.sbom_path(TAG).unlink()
    storage.buildah("rm", container)
    shutil.rmtree(storage.folder, ignore_errors=True)


def test_a_job_with_token_and_tls_scores_the_samples(built: tuple[Storage, Path], tmp_path: Path) -> None:
    assert may_mount(), "this machine does not let a root be mounted read-only"
    storage, root = built
    log = tmp_path / "log.txt"
    facts = {**storage.facts(TAG), "Entrypoint": ["bash", "-c", _NODE]}
    with running(root, facts, log) as (process, _):
        assert process.wait(300) == 0, log.read_text()
    images = len(list((root / "app/src/bundle/samples").iterdir()))
    assert f"every one of {images} images is answered once" in log.read_text()


def test_it_holds_no_training_and_no_installer(built: tuple[Storage, Path]) -> None:
    _, root = built
    files = {path.lstat().st_ino: path.lstat().st_size for path in root.rglob("*") if not path.is_dir()}
    assert sum(files.values()) < 1.5e9
    packages = {path.name.split("-")[0].lower() for path in (root / "app/packages").glob("*.dist-info")}
    assert not packages & {"pip", "uv", "tensorflow", "mlflow", "dvc"}


def test_it_runs_as_nobody_special(built: tuple[Storage, Path]) -> None:
    storage, _ = built
    assert storage.facts(TAG)["User"] == "10001:10001"
