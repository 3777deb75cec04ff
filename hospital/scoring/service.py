"""The HTTP service as the back end: FRACTURE_SERVICE_URL, and the key where it asks for one."""

import hashlib
import json

import httpx
from pydantic import BaseModel, ValidationError

from hospital.errors import HospitalError, TryAgainError
from hospital.results.source import pixel_digest
from hospital.scoring import ModelFacts, Scored
from hospital.sections import plainly
from hospital.unanswered import why
from serving.errors import ImageError, one_line
from serving.http.schemas import Prediction
from serving.imaging import decode

_SECONDS = 60.0
_NOT_OF_THE_MODEL = ("limits", "samples", "schema_version")
"""What GET /model says of the service rather than of the model."""
_OF_THE_IMAGE = (400, 413, 415, 422)


class _Intended(BaseModel, strict=True):
    regions: tuple[str, ...] = ()


class _Model(BaseModel, strict=True):
    """What is needed of GET /model."""

    name: str
    version: str
    classes: tuple[str, ...]
    intended: _Intended


class ServiceScorer:
    """Asks a running service; HospitalError where it does not answer as one."""

    def __init__(self, url: str, key: str = "", at_once: int = 4) -> None:
        self.at_once = at_once
        # Neither a proxy of the environment nor a redirect is followed: radiographs go to the named address only.
        self._client = httpx.Client(base_url=url, timeout=_SECONDS, trust_env=False)
        self.adopt(key)
        self.model = self._facts(url)

    def adopt(self, key: str) -> None:
        """Show another key from now on."""
        self._client.headers = httpx.Headers({"authorization": f"Bearer {key}"} if key else {})

    def score(self, content: bytes) -> Scored:
        """As `Scorer.score`."""
        try:
            answer = self._client.post(
                "/predict",
                params={"explain": "true"},
                content=content,
                headers={"content-type": "application/dicom"},
            )
        except httpx.HTTPError as error:
            raise TryAgainError("service", f"the service does not answer ({why(error)})") from None
        if answer.status_code == 200:
            try:
                found = Prediction.model_validate_json(answer.content, strict=True, extra="ignore")
            except ValidationError:
                raise TryAgainError("service", "the service's answer is none that this gateway reads") from None
            return Scored(found, pixel_digest(decode.decode(content).pixels))
        code, detail = _problem(answer)
        if answer.status_code in _OF_THE_IMAGE and code:
            raise ImageError(code, detail)
        raise TryAgainError("service", f"the service answered {answer.status_code} {code}".rstrip())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _facts(self, url: str) -> ModelFacts:
        try:
            answer = self._client.get("/model")
            answer.raise_for_status()
            told = {name: value for name, value in answer.json().items() if name not in _NOT_OF_THE_MODEL}
            digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
            facts = _Model.model_validate_json(answer.content)
            return ModelFacts(facts.name, facts.version, digest, facts.intended.regions, classes=facts.classes)
        except ValidationError as error:
            fault = plainly(error)
            raise HospitalError(f"FRACTURE_SERVICE_URL: {url} does not answer as the service ({fault})") from None
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            reason = one_line(error, 120)
            raise HospitalError(f"FRACTURE_SERVICE_URL: {url} does not answer as the service ({reason})") from None


def _problem(answer: httpx.Response) -> tuple[str, str]:
    try:
        document = answer.json()
        return str(document["code"]), str(document["detail"])
    except (ValueError, KeyError, TypeError):
        return "", ""
