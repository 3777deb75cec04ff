"""Keyed pseudonyms of patient and study: the same for the same patient of a site, and worth nothing without the key."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Any

from serving.errors import ImageError
from serving.imaging import dicom

_LENGTH = 32
"""Hexadecimal digits: 128 bits, so that two patients never share one."""
_LONGEST = 256
"""Characters of an identifier that count; PS3.5, 6.2 allows 64."""


@dataclass(frozen=True)
class Pseudonyms:
    """Of the patient and of the study that an image belongs to; None where the file does not say."""

    patient: str | None = None
    study: str | None = None


def pseudonyms_of(content: bytes, site: str, key: str) -> Pseudonyms:
    """Those of an image file's bytes; none without a `key`, for a picture, and for an object that cannot be read.

    HMAC-SHA-256 (RFC 2104). A patient's identifier is unique in one place only, so its issuer and `site` count too; a
    study's is unique everywhere.
    """
    if not key or not dicom.is_dicom(content):
        return Pseudonyms()
    try:
        header = dicom.read(content)
    except ImageError:
        return Pseudonyms()
    study = _text(header, "StudyInstanceUID")
    return Pseudonyms(
        patient=pseudonym_of_patient(header, site, key),
        study=_keyed(key, "study", study) if study else None,
    )


def pseudonym_of_patient(header: Any, site: str, key: str) -> str | None:
    """The pseudonym of the patient whom a data set names; None without a `key` or a Patient ID."""
    patient, issuer = _text(header, "PatientID"), _text(header, "IssuerOfPatientID")
    return _keyed(key, "patient", site, issuer, patient) if key and patient else None


def _text(header: Any, keyword: str) -> str:
    try:
        value = header.get(keyword)
    except (TypeError, ValueError, NotImplementedError):
        return ""
    return str(value or "").strip(" \0")[:_LONGEST]


def _keyed(key: str, *parts: str) -> str:
    return hmac.new(key.encode(), "\0".join(parts).encode(), hashlib.sha256).hexdigest()[:_LENGTH]
