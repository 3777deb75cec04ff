"""`fracture sign` and `fracture verify`; what signs runs in .venv-sign, with model-signing itself."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from pipeline import cli
from pipeline.errors import InputError
from pipeline.packaging import signing
from serving.errors import BundleError
from serving.signature import VARIABLE, beside, verified
from tests.conftest import ROOT
from tests.signer import Signer

TOOLS = Path(os.environ.get("SIGN_TOOLS") or ROOT / ".venv-sign/bin")
RELEASE = sorted((ROOT / "models").glob("*/bundle"))[-1].parent


def _need_tools() -> None:
    if not (TOOLS / "model_signing").exists():
        if os.environ.get("CI") == "true":
            pytest.fail("make sign-setup was not run, and CI leaves nothing out")
        pytest.skip("left out: run make sign-setup")


def _small(folder: Path) -> Path:
    """A folder that is signed like a bundle; nobody asks here whether it can be served."""
    (folder / "samples").mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    (folder / "samples/one.png").write_bytes(b"one")
    return folder


def _sign(folder: Path, key: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    _need_tools()
    command = [str(TOOLS / "fracture"), "sign", str(folder), "--key", str(key)]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=120
    )


def _verify(*arguments: object) -> str:
    """What `fracture verify` prints."""
    words = ["verify", *map(str, arguments)]
    done = CliRunner().invoke(cli.assemble(words), words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


# What is signed of a folder


def test_of_a_release_the_bundle_is_signed_first_and_then_the_whole(tmp_path: Path) -> None:
    _small(tmp_path / "bundle")
    assert signing.parts(tmp_path) == [tmp_path / "bundle", tmp_path]


def test_of_a_bento_the_bundle_in_it_is_signed_first(tmp_path: Path) -> None:
    _small(tmp_path / "src/bundle")
    (tmp_path / "bento.yaml").touch()
    assert signing.parts(tmp_path) == [tmp_path / "src/bundle", tmp_path]


def _page(folder: Path) -> Path:
    (folder / "signed").mkdir(parents=True)
    (folder / "signed/model.json").write_text("{}")
    (folder / "sw.js").touch()
    return folder


def test_of_a_page_what_devices_check_is_signed_first(tmp_path: Path) -> None:
    page = _page(tmp_path / "page")
    assert signing.parts(page) == [page / "signed", page]


def test_of_a_bento_with_a_page_both_bundles_are_signed_before_the_whole(tmp_path: Path) -> None:
    _small(tmp_path / "src/bundle")
    _page(tmp_path / "src/offline")
    (tmp_path / "bento.yaml").touch()
    assert signing.parts(tmp_path) == [tmp_path / "src/bundle", tmp_path / "src/offline/signed", tmp_path]


def test_a_page_that_asks_for_no_signature_says_how_to_export_one_that_does(tmp_path: Path) -> None:
    (tmp_path / "sw.js").touch()
    with pytest.raises(InputError, match="export it with --trusted-key"):
        signing.parts(tmp_path)


def test_another_folder_is_not_signed(tmp_path: Path) -> None:
    (tmp_path / "src/bundle").mkdir(parents=True)
    with pytest.raises(InputError, match="is no bundle, release, bento or exported page"):
        signing.parts(tmp_path)


# Keys


def test_a_key_in_a_checkout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkout/.git").mkdir(parents=True)
    key = Signer().write_private(tmp_path / "checkout/key.pem")
    with pytest.raises(InputError, match=r"key.pem: lies in the checkout .*; keep private keys outside of it"):
        signing.sign(_small(tmp_path / "bundle"), key)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    key = Signer().write_private(tmp_path / "key.pem")
    key.chmod(0o640)
    with pytest.raises(InputError, match=r"key.pem: may be used by others; chmod 600"):
        signing.sign(_small(tmp_path / "bundle"), key)


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found; make one: openssl genpkey"):
        signing.sign(_small(tmp_path / "bundle"), tmp_path / "key.pem")


def test_no_private_key_is_in_the_tree() -> None:
    command = ["git", "grep", "-lE", "^-----BEGIN .*PRIVATE KEY"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert listed.stdout == ""


def test_without_the_extra_one_line_says_where_to_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    key = Signer().write_private(tmp_path / "key.pem")
    with pytest.raises(InputError, match=r"`make sign-setup` makes .venv-sign; then use .venv-sign/bin/fracture"):
        signing.sign(_small(tmp_path / "bundle"), key)


# Signing and verifying


def test_a_signed_release_is_verified_by_its_public_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Path(shutil.copytree(RELEASE, tmp_path / RELEASE.name))
    signer = Signer()
    done = _sign(release, signer.write_private(tmp_path / "key.pem"))
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[0] for line in done.stdout.splitlines()] == [
        f"{release / 'bundle.sig'}", f"{tmp_path / (RELEASE.name + '.sig')}"
    ]  # fmt: skip
    public = signer.write_public(tmp_path / "key.pub")
    count = sum(path.is_file() for path in release.rglob("*"))
    said = f"{release}: signed with the key {signer.public.fingerprint[:12]} ({public}); all {count} files are as they"
    assert _verify(release, "--key", public).startswith(said)
    monkeypatch.setenv(VARIABLE, str(public))
    assert _verify(release).startswith(said)
    assert _verify(release / "bundle").startswith(f"{release / 'bundle'}: signed with the key")
    (release / "MODEL_CARD.md").write_text("better")
    with pytest.raises(BundleError, match=r"MODEL_CARD.md: is not what was signed"):
        _verify(release)


def test_verify_needs_a_key_to_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(InputError, match="whose signature"):
        _verify(_small(tmp_path / "bundle"))


def _alter(folder: Path) -> None:
    (folder / "samples/one.png").write_bytes(b"two")


def _add(folder: Path) -> None:
    (folder / "more").write_text("x")


def _remove(folder: Path) -> None:
    (folder / "samples/one.png").unlink()


def _link(folder: Path) -> None:
    (folder / "model.json").rename(folder.with_name("elsewhere"))
    (folder / "model.json").symlink_to(folder.with_name("elsewhere"))


def _garble(folder: Path) -> None:
    beside(folder).write_text(beside(folder).read_text().replace('"sig":"M', '"sig":"N'))


def _leave(folder: Path) -> None:
    pass


_CASES: dict[str, Callable[[Path], None]] = {
    "whole": _leave, "altered": _alter, "added": _add, "removed": _remove, "link": _link, "garbled": _garble,
}  # fmt: skip

_THEIRS = """
import contextlib, io, json, sys
from model_signing import verifying
said = {}
for folder, key in json.loads(sys.argv[1]):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            verifying.Config().use_elliptic_key_verifier(public_key=key).verify(folder, folder + ".sig")
        said[folder] = True
    except Exception as error:
        said[folder] = False
print(json.dumps(said))
"""


def test_we_and_model_signing_agree_on_each_others_signatures(tmp_path: Path) -> None:
    _need_tools()
    ours, other = Signer(), Signer()
    key = ours.write_private(tmp_path / "key.pem")
    public, strange = ours.write_public(tmp_path / "key.pub"), other.write_public(tmp_path / "other.pub")
    first = _small(tmp_path / "whole")
    assert _sign(first, key).returncode == 0
    asked, expected, found = [], {}, {}
    for name, change in _CASES.items():
        folder = tmp_path / name
        if name != "whole":
            shutil.copytree(first, folder)
            shutil.copy(beside(first), beside(folder))
        change(folder)
        asked.append((str(folder), str(public)))
        expected[str(folder)] = name == "whole"
        found[str(folder)] = _accepts(folder, ours)
    by_other = _small(tmp_path / "by-other")
    other.sign(by_other)
    asked += [(str(by_other), str(public))]
    expected[str(by_other)] = False
    found[str(by_other)] = _accepts(by_other, ours)
    by_test = _small(tmp_path / "by-test")
    other.sign(by_test)
    asked += [(str(by_test), str(strange))]
    expected[str(by_test)] = True
    found[str(by_test)] = _accepts(by_test, other)
    done = subprocess.run(
        [TOOLS / "python", "-c", _THEIRS, json.dumps(asked)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected
    assert found == expected


def _accepts(folder: Path, signer: Signer) -> bool:
    try:
        verified(folder, [signer.public])
    except BundleError:
        return False
    return True


@pytest.mark.slow
def test_a_link_is_not_signed(tmp_path: Path) -> None:
    folder = _small(tmp_path / "bundle")
    _link(folder)
    done = _sign(folder, Signer().write_private(tmp_path / "key.pem"))
    assert done.returncode == 1
    assert "cannot be signed" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not beside(folder).exists()


@pytest.mark.slow
def test_an_encrypted_key_is_opened_with_its_password_alone(tmp_path: Path) -> None:
    folder, signer = _small(tmp_path / "bundle"), Signer()
    key = signer.write_private(tmp_path / "key.pem")
    private = serialization.load_pem_private_key(signer.private_pem, None)
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    without = _sign(folder, key)
    assert without.returncode == 1
    assert without.stderr.strip().endswith("FRACTURE_KEY_PASSWORD")
    done = _sign(folder, key, **{signing.KEY_VARIABLE: "word"})
    assert done.returncode == 0, done.stderr
    assert verified(folder, [signer.public])[1] == signer.public
    assert "word" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_public_key_cannot_sign(tmp_path: Path) -> None:
    key = Signer().write_public(tmp_path / "key.pub")
    key.chmod(0o600)
    done = _sign(_small(tmp_path / "bundle"), key)
    assert done.returncode == 1
    assert "is no private key" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_locks_of_the_extras_hold_the_packages_of_the_others_in_the_same_versions() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = [line.split(" ")[0] for line in (ROOT / "locks" / name).read_text().splitlines() if line[:1].isalpha()]
        return dict(line.split("==") for line in lines)

    full, verify, sign = (pins(f"{name}.txt") for name in ("full", "verify", "sign"))
    assert set(verify) == {"cffi", "cryptography", "pycparser"}
    assert sign["model-signing"] == "1.1.1"
    assert set(sign) > {"bentoml", "pyopenssl", "typer", *verify}
    for name, version in (verify | sign).items():
        assert full.get(name, version) == version, name
    for name in ("verify", "sign"):
        text = (ROOT / f"locks/{name}.txt").read_text()
        assert "--hash=sha256:" in text
        assert "://" not in text
