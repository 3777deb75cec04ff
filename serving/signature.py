"""Signatures of the OpenSSF model signing format, checked with `cryptography` alone.

A signature is a Sigstore bundle (JSON): a DSSE envelope around an in-toto statement that lists every file of a folder
with its sha256, signed with an elliptic curve key (https://github.com/ossf/model-signing-spec). It lies beside the
folder, NAME.sig beside NAME. `fracture sign` makes it with the package model-signing; a service that checks it needs
neither that nor what that brings along, but the extra `verify`. What is accepted here, model-signing accepts as well
(with --no-ignore-git-paths, where a folder holds files of git); files that a signature says may be ignored, which it
ignores, are refused here.
"""

import base64
import binascii
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.errors import BundleError, SettingsError, one_line
from serving.late import late

if TYPE_CHECKING:
    from cryptography import exceptions
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
else:  # the extra is needed where a key is read
    exceptions = late("cryptography.exceptions")
    hashes = late("cryptography.hazmat.primitives.hashes")
    serialization = late("cryptography.hazmat.primitives.serialization")
    ec = late("cryptography.hazmat.primitives.asymmetric.ec")

SUFFIX = ".sig"
VARIABLE = "FRACTURE_TRUSTED_KEYS"
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_LARGEST = 16 << 20
"""Bytes of a signature that are read; that of a bundle has about 2000."""
_CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""Curves that the format knows, and the hash that belongs to each."""
_WEB_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
"""What a browser calls them (W3C Web Cryptography API, ECDSA)."""
_PEM = "-----BEGIN "


@dataclass(frozen=True)
class PublicKey:
    """A key whose signatures are trusted."""

    source: str = field(compare=False)  # the file it was read from
    fingerprint: str  # sha256 of its PEM text, hex: what a signature names its key by
    _key: "ec.EllipticCurvePublicKey" = field(repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.fingerprint[:12]} ({self.source})"

    def made(self, signature: bytes, signed: bytes) -> bool:
        """Whether this key made the signature of these bytes."""
        algorithm = getattr(hashes, _CURVES[self._key.curve.name])()
        try:
            self._key.verify(signature, signed, ec.ECDSA(algorithm))
        except exceptions.InvalidSignature:
            return False
        return True

    def for_browser(self) -> dict[str, str]:
        """The key as the page on a device takes it; `spki` is DER (RFC 5480) in base64."""
        der = self._key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        name = self._key.curve.name
        return {
            "fingerprint": self.fingerprint,
            "curve": _WEB_CURVES[name],
            "hash": _CURVES[name].replace("SHA", "SHA-"),
            "spki": base64.b64encode(der).decode(),
        }


def trusted_keys(environment: Mapping[str, str] | None = None) -> tuple[PublicKey, ...] | None:
    """The keys that FRACTURE_TRUSTED_KEYS names, files separated by commas; None where it is not set.

    Raises SettingsError for a variable that is set and names no key: a typing error must not switch the check off.
    """
    text = (os.environ if environment is None else environment).get(VARIABLE)
    if text is None:
        return None
    keys = [key for name in text.split(",") if name.strip() for key in read_keys(Path(name.strip()), f"{VARIABLE}: ")]
    if not keys:
        raise SettingsError(f"{VARIABLE}: is set, but names no key; name files of public keys, or unset it")
    return tuple(keys)


def read_keys(path: Path, prefix: str = "") -> tuple[PublicKey, ...]:
    """The public keys in a PEM file, one or several; SettingsError, its line begun with `prefix`."""
    try:
        text = path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise SettingsError(f"{prefix}{path}: not found; name a file of public keys (PEM)") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{prefix}{path}: cannot be read ({one_line(error, 120)})") from None
    if "PRIVATE KEY" in text:
        raise SettingsError(
            f"{prefix}{path}: is a private key; name its public half: openssl pkey -in KEY -pubout -out KEY.pub"
        )
    blocks = [_PEM + block for block in text.split(_PEM)[1:]]
    if not blocks:
        raise SettingsError(f"{prefix}{path}: holds no public key as PEM text")
    return tuple(parse_key(block, str(path), prefix) for block in blocks)


def parse_key(pem: str, source: str, prefix: str = "") -> PublicKey:
    """The public key in a PEM text; SettingsError, its line begun with `prefix`."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ModuleNotFoundError as error:
        raise SettingsError(f"{prefix}{one_line(error)}; install the packages of locks/verify.txt") from None
    except ValueError as error:
        raise SettingsError(f"{prefix}{source}: is no public key ({one_line(error, 80)})") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise SettingsError(f"{prefix}{source}: is no elliptic curve key of P-256, P-384 or P-521")
    same = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(source, hashlib.sha256(same).hexdigest(), key)


def absolute_paths(text: str) -> str:
    """The value of FRACTURE_TRUSTED_KEYS for a process that runs in another folder."""
    return ",".join(str(Path(name.strip()).absolute()) for name in text.split(",") if name.strip())


def beside(folder: Path) -> Path:
    """Where the signature of a folder lies."""
    real = folder.resolve()
    return real.with_name(real.name + SUFFIX)


@dataclass(frozen=True)
class Signed:
    """What a valid signature says: each file's sha256, hex, by its name in the folder; and whose it is."""

    digests: Mapping[str, str]
    key: PublicKey


def signed_by(path: Path, keys: Sequence[PublicKey]) -> Signed:
    """What the signature in `path` says of its folder, if one of `keys` made it.

    Raises BundleError: no signature, one that cannot be read, of a key that is not trusted, or that is not valid.
    """
    envelope, named = _read_envelope(path)
    key = next((key for key in keys if key.fingerprint == named), None)
    if key is None:
        trusted = ", ".join(map(str, keys))
        raise BundleError(
            f"{path}: was made with the key {named[:12] or '(none)'}, which is not trusted ({trusted} is)"
        )
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
        (only,) = envelope["signatures"]
        signature = base64.b64decode(only["sig"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise _broken(path, "its envelope is not complete") from None
    if envelope.get("payloadType") != _PAYLOAD_TYPE:
        raise _broken(path, f"it does not sign {_PAYLOAD_TYPE}")
    if not key.made(signature, _pre_authentication(payload)):
        raise BundleError(
            f"{path}: is not valid: it was changed, or the key {key} did not make it; sign the folder again"
        )
    return Signed(_digests(path, payload), key)


def verified(folder: Path, keys: Sequence[PublicKey], *, keep: bool = True) -> tuple[dict[str, bytes], PublicKey]:
    """Read a folder once, compare every byte with its signature; the content by file name, and the key that signed.

    Without `keep` the content is forgotten, for folders larger than memory. Raises BundleError: no valid signature
    beside the folder, a file changed, added or missing, a link.
    """
    signed = signed_by(beside(folder), keys)
    content, missing = {}, set(signed.digests)
    for name, path in _files(folder.resolve()):
        if name not in signed.digests:
            raise BundleError(f"{path}: was added: the signature does not know it; remove it, or sign the folder again")
        try:
            found = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path}: cannot be read ({one_line(error, 120)})") from None
        if hashlib.sha256(found).hexdigest() != signed.digests[name]:
            raise BundleError(f"{path}: is not what was signed; restore it, or sign the folder again")
        missing.discard(name)
        content[name] = found if keep else b""
    if missing:
        raise BundleError(f"{folder / min(missing)}: is missing, but was signed; restore it, or sign the folder again")
    return content, signed.key


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder with its name there, in order; BundleError for a link or what is neither."""

    def fail(error: OSError) -> None:
        raise BundleError(f"{error.filename}: cannot be read ({one_line(error, 120)})")

    for parent, folders, files in os.walk(folder, onerror=fail):
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                kind = "a link" if stat.S_ISLNK(mode) else "no regular file"
                raise BundleError(f"{path}: is {kind}; what is signed holds files and folders only")
            if stat.S_ISREG(mode):
                yield path.relative_to(folder).as_posix(), path


def _read_envelope(path: Path) -> tuple[Mapping[str, Any], str]:
    """The DSSE envelope of a signature, and the fingerprint of the key that it names, empty if none."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST)
        found = json.loads(text)
        material, envelope = found["verificationMaterial"], found["dsseEnvelope"]
        if "certificate" in material or "x509CertificateChain" in material:
            raise BundleError(
                f"{path}: is a signature with a certificate; check it with model_signing verify, or sign with a key"
            )
        if found["mediaType"] != _MEDIA_TYPE or not isinstance(envelope, Mapping):
            raise _broken(path, f"it is no {_MEDIA_TYPE}")
        return envelope, str((material.get("publicKey") or {}).get("hint") or "")
    except FileNotFoundError:
        raise BundleError(
            f"{path}: not found, and {VARIABLE} or --key asks for a signature; make it: "
            "fracture sign FOLDER --key KEY.pem, with the folder of the bundle, release, bento or page"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _broken(path, one_line(error, 100)) from None


def _digests(path: Path, payload: bytes) -> dict[str, str]:
    """The files that a signed statement lists."""
    try:
        statement = json.loads(payload)
        predicate = statement["predicate"]
        kind = (statement["_type"], statement["predicateType"])
        method = (predicate["serialization"]["method"], predicate["serialization"]["hash_type"])
        (subject,) = statement["subject"]
        listed = [(str(each["name"]), str(each["digest"])) for each in predicate["resources"]]
        if kind != (_STATEMENT, _PREDICATE) or method != ("files", "sha256"):
            raise _broken(path, f"it says something else than files with their sha256 ({_PREDICATE})")
        root = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in listed)).hexdigest()
        if root != subject["digest"]["sha256"]:
            raise _broken(path, "its list of files contradicts its own digest")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(path, one_line(error, 100)) from None
    if len({name for name, _ in listed}) != len(listed) or any(
        each["algorithm"] != "sha256" for each in predicate["resources"]
    ):
        raise _broken(path, "it lists a file twice, or with another hash than sha256")
    return dict(listed)


def _pre_authentication(payload: bytes) -> bytes:
    """The bytes that a DSSE signature covers (https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md)."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _broken(path: Path, reason: str) -> BundleError:
    return BundleError(f"{path}: is no signature that can be used ({reason}); sign the folder again")
