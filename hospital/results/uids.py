"""UIDs that follow from what an object is made of: the same input gives the same UID, another input another one."""

import hashlib
import uuid

from pydicom.uid import UID


def derived_uid(*parts: str) -> UID:
    """A UID below 2.25 (PS3.5, B.2) from the sha256 of the parts and of where each of them ends."""
    joined = "".join(f"{len(part)}:{part}" for part in parts)
    number = uuid.UUID(bytes=hashlib.sha256(joined.encode()).digest()[:16], version=5).int
    return UID(f"2.25.{number}")
