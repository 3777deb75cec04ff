"""Signatures of the model signing format as a test wants them, right or wrong; `fracture sign` makes the real ones."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from serving.signature import PublicKey, beside, parse_key

Statement = dict[str, Any]


class Signer:
    """A key of the test's own."""

    def __init__(self, curve: ec.EllipticCurve | None = None) -> None:
        self._key = ec.generate_private_key(curve or ec.SECP256R1())

    @property
    def private_pem(self) -> bytes:
        return self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def public_pem(self) -> str:
        return (
            self._key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    @property
    def public(self) -> PublicKey:
        return parse_key(self.public_pem, "test.pub")

    def write_public(self, path: Path) -> Path:
        path.write_text(self.public_pem)
        return path

    def write_private(self, path: Path) -> Path:
        path.write_bytes(self.private_pem)
        path.chmod(0o600)
        return path

    def sign(self, folder: Path, change: Callable[[Statement], None] = lambda _: None) -> Path:
        """Write the signature beside a folder, of a statement that `change` may make a false one; where it lies."""
        statement = statement_of(folder)
        change(statement)
        payload = json.dumps(statement).encode()
        kind = b"application/vnd.in-toto+json"
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
        algorithm = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[self._key.key_size]
        signature = self._key.sign(signed, ec.ECDSA(algorithm))
        material = {"publicKey": {"hint": self.public.fingerprint}, "tlogEntries": []}
        envelope = {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": kind.decode(),
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        }
        whole = {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
            "dsseEnvelope": envelope,
        }
        beside(folder).write_text(json.dumps(whole))
        return beside(folder)


def statement_of(folder: Path) -> Statement:
    """What a signature of a folder says."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()) for path in files}
    root = hashlib.sha256(b"".join(digest.digest() for digest in digests.values())).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": folder.name, "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digest.hexdigest()} for name, digest in digests.items()
            ],
        },
    }
