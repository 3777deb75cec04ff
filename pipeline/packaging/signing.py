"""Sign bundles, releases, bentos and exported pages in the OpenSSF model signing format, and check them."""

import importlib.util
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.files import atomic_file
from pipeline.late import late
from serving import signature
from serving.errors import one_line
from serving.signature import PublicKey

if not TYPE_CHECKING:  # the extra `sign` brings them
    serialization = late("cryptography.hazmat.primitives.serialization")
    hashing = late("model_signing.hashing")
    model_signing = late("model_signing.signing")
else:
    from cryptography.hazmat.primitives import serialization

    hashing: Any = None
    model_signing: Any = None

KEY_VARIABLE = "FRACTURE_KEY_PASSWORD"
"""Variable of the environment with the password of an encrypted key."""
_MANIFEST, _BENTO, _PAGE = "model.json", "bento.yaml", "signed"
_MAKE_KEY = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem"


@dataclass(frozen=True)
class Checked:
    """A folder whose every file is as it was signed."""

    folder: Path
    files: int
    key: PublicKey


def parts(folder: Path) -> list[Path]:
    """What is signed of a folder: the bundle in a release or bento, so that it can be served by itself, then the whole.

    Of a page, alone or in a bento, it is what devices check. Raises InputError for any other folder.
    """
    if (folder / _MANIFEST).is_file():
        return [folder]
    for inner, of in (
        (folder / "bundle", folder / "bundle"),
        (folder / "src/bundle", folder / _BENTO),
        (folder / _PAGE, folder / "sw.js"),
    ):
        if of.exists() and (inner / _MANIFEST).is_file():
            page = folder / "src/offline" / _PAGE
            return [inner, *([page] if page.is_dir() else []), folder]
    if (folder / "sw.js").is_file():
        raise InputError(f"{folder}: is a page that asks for no signature; export it with --trusted-key")
    raise InputError(f"{folder}: is no bundle, release, bento or exported page; name the folder of one")


def sign(folder: Path, key: Path) -> list[Checked]:
    """Sign a folder, and the bundle in it, with an elliptic curve key; the signatures lie beside the folders.

    Raises InputError: no such folder or key, a key in a checkout or one that others may read, the extra `sign` missing.
    """
    folders = parts(folder)
    _check_key(key)
    for name in ("model_signing", "OpenSSL"):
        if importlib.util.find_spec(name) is None:
            raise InputError(
                "signing needs the extra `sign`: `make sign-setup` makes .venv-sign; then use .venv-sign/bin/fracture"
            )
    signer = _signer(key)
    public = _public_half(key)
    done = []
    for each in folders:
        with atomic_file(signature.beside(each)) as partial:
            try:
                signer.sign(each.resolve(), partial)
            except (ValueError, OSError) as error:
                raise InputError(f"{each}: cannot be signed ({one_line(error)})") from None
        done.append(_checked(each, (public,)))
    return done


def check(folder: Path, keys: Sequence[PublicKey]) -> list[Checked]:
    """Compare a folder, and the bundle in it, with the signatures beside them; InputError, BundleError."""
    return [_checked(each, keys) for each in parts(folder)]


def _checked(folder: Path, keys: Sequence[PublicKey]) -> Checked:
    content, key = signature.verified(folder, keys, keep=False)
    return Checked(folder, len(content), key)


def _check_key(key: Path) -> None:
    if not key.is_file():
        raise InputError(f"--key {key}: not found; make one: {_MAKE_KEY}")
    for parent in key.resolve().parents:
        if (parent / ".git").exists():
            raise InputError(f"--key {key}: lies in the checkout {parent}; keep private keys outside of it")
    if key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InputError(f"--key {key}: may be used by others; chmod 600 {key}")


def _signer(key: Path) -> Any:
    """A signer of every file, without model-signing's own exceptions for git's."""
    password = os.environ.get(KEY_VARIABLE)
    try:
        return (
            model_signing.Config()
            .set_hashing_config(hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False))
            .use_elliptic_key_signer(private_key=key, password=password.encode() if password else None)
        )
    except TypeError:  # what cryptography raises for a password too many or too few
        raise InputError(
            f"--key {key}: give the password of an encrypted key, and of no other, in {KEY_VARIABLE}"
        ) from None
    except (ValueError, OSError) as error:
        raise InputError(
            f"--key {key}: is no private key on P-256, P-384 or P-521 ({one_line(error, 100)}); make one: {_MAKE_KEY}"
        ) from None


def _public_half(key: Path) -> PublicKey:
    password = os.environ.get(KEY_VARIABLE)
    private = serialization.load_pem_private_key(key.read_bytes(), password.encode() if password else None)
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return signature.parse_key(pem.decode(), str(key))
