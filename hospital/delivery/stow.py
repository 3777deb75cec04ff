"""STOW-RS to a destination (PS3.18, 10.5): taken is only what its answer names."""

import uuid
from collections.abc import Iterator, Sequence

import httpx

from hospital.delivery import Announce, Outgoing, Package, Promise
from hospital.delivery.settings import Stow
from hospital.errors import DeadLetterError, TryAgainError
from hospital.unanswered import unreachable

_REFERENCED, _FAILED, _INSTANCE, _REASON = "00081199", "00081198", "00081155", "00081197"
"""Referenced and Failed SOP Sequence, Referenced SOP Instance UID and Failure Reason, as keys of DICOM JSON."""
_HOPELESS = (400, 401, 403, 404, 405, 413, 415)


class StowSender:
    """Sends to one DICOMweb server. Redirects are not followed: patients' data goes to the named address only."""

    def __init__(self, destination: Stow, authorization: str = "") -> None:
        self._name = destination.name
        self._url = destination.url.rstrip("/")
        headers = {"authorization": authorization} if authorization else {}
        self._client = httpx.Client(headers=headers, timeout=destination.timeout_seconds, trust_env=False)

    def echo(self) -> None:
        """A query that finds nothing or one study."""
        answer = self._asked("GET", "/studies", params={"limit": "1"}, headers={"accept": "application/dicom+json"})
        if answer.status_code not in {200, 204}:
            raise _refusal(self._name, answer.status_code)

    def send(self, package: Package, _announce: Announce) -> Promise:
        """All objects in one request; kept where the answer references each of them."""
        objects = package.objects
        boundary = uuid.uuid4().hex
        answer = self._asked(
            "POST",
            "/studies",
            content=_parts(objects, boundary),
            headers={
                "content-type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "accept": "application/dicom+json",
            },
        )
        if answer.status_code not in {200, 202, 409}:
            raise _refusal(self._name, answer.status_code)
        taken, failed = _outcome(answer)
        missing = {one.sop_instance_uid for one in objects} - taken
        if not missing:
            return Promise(kept=True)
        reason = next((failed[uid] for uid in sorted(missing) if uid in failed), "they are not named in its answer")
        raise TryAgainError("not_referenced", f"{self._name} did not take {len(missing)} of {len(objects)}: {reason}")

    def _asked(self, method: str, path: str, **request: object) -> httpx.Response:
        try:
            return self._client.request(method, self._url + path, **request)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            raise unreachable(self._name, error) from None


def _parts(objects: Sequence[Outgoing], boundary: str) -> Iterator[bytes]:
    for one in objects:
        yield f"--{boundary}\r\ncontent-type: application/dicom\r\n\r\n".encode()
        yield one.path.read_bytes()
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def _outcome(answer: httpx.Response) -> tuple[set[str], dict[str, str]]:
    """UIDs that the answer references, and those that failed with their reason; empty where it is no DICOM JSON."""
    try:
        document = answer.json()
        found = document[0] if isinstance(document, list) else document
        taken = {_text(item, _INSTANCE) for item in found.get(_REFERENCED, {}).get("Value", [])}
        failed = {
            _text(item, _INSTANCE): f"failure reason {_text(item, _REASON)}"
            for item in found.get(_FAILED, {}).get("Value", [])
        }
    except (ValueError, LookupError, AttributeError, TypeError):
        return set(), {}
    return taken, failed


def _text(item: dict[str, dict[str, list[object]]], tag: str) -> str:
    return str(item[tag]["Value"][0])


def _refusal(name: str, status: int) -> TryAgainError | DeadLetterError:
    if status in _HOPELESS:
        return DeadLetterError(f"http_{status}", f"{name} answered {status}; check its address and authorization")
    return TryAgainError(f"http_{status}", f"{name} answered {status}")
