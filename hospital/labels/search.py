"""A search for DiagnosticReports on one FHIR server: what it answers leads nowhere else.

No redirect is followed, no proxy of the environment is used, and a next page counts only at the configured address.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import httpx

from hospital.bodies import blocks
from hospital.errors import TryAgainError
from hospital.labels import fhir
from hospital.labels.settings import ReportPoll
from hospital.unanswered import unreachable

_MOST_BYTES = 16 << 20
"""Of one page; 100 reports with what they refer to take about 0.5 MiB."""
_MOST_PAGES = 1000
_INCLUDED = ("subject", "based-on")
"""What identifies patient and order; R5 can include the study as well (FHIR, DiagnosticReport, search parameters)."""

Page = dict[str, Any]


class ReportSearch:
    """Asks one server; TryAgainError where it does not answer as one."""

    def __init__(self, settings: ReportPoll, authorization: str = "") -> None:
        self._settings = settings
        self._base = httpx.URL(settings.url.rstrip("/"))
        headers = {"accept": "application/fhir+json", "accept-encoding": "identity"}
        if authorization:
            headers["authorization"] = authorization
        self._client = httpx.Client(
            headers=headers, timeout=settings.timeout_seconds, trust_env=False, follow_redirects=False
        )

    def echo(self) -> None:
        """The server's capability statement."""
        self._page(f"{self._base}/metadata", {}, "CapabilityStatement")

    def changed_since(self, moment: datetime) -> Iterator[Page]:
        """Bundles with the reports that changed since then, final or withdrawn, and with what they refer to."""
        included = (*_INCLUDED, *(["study"] if self._settings.release == "R5" else []))
        parameters: dict[str, str | list[str]] = {
            "_lastUpdated": f"ge{moment.isoformat(timespec='seconds')}",
            "status": ",".join(fhir.STATUSES),
            "_include": [f"DiagnosticReport:{name}" for name in included],
            "_count": str(self._settings.page_size),
        }
        page = self._page(f"{self._base}/DiagnosticReport", parameters, "Bundle")
        for _ in range(_MOST_PAGES):
            yield page
            address = self._next(page)
            if not address:
                return
            page = self._page(address, {}, "Bundle")
        raise TryAgainError("endless", f"{self._settings.name} gives more than {_MOST_PAGES} pages")

    def _next(self, page: Page) -> str:
        """Where the next page is, empty behind the last one."""
        links = page.get("link")
        named = [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []
        given = next((str(link.get("url", "")) for link in named if link.get("relation") == "next"), "")
        if not given:
            return ""
        try:
            url = self._base.join(given)
        except httpx.InvalidURL:
            url = httpx.URL()
        here = (self._base.scheme, self._base.netloc)
        below = url.path == self._base.path or url.path.startswith(f"{self._base.path.rstrip('/')}/")
        if (url.scheme, url.netloc) != here or url.userinfo or not below:
            raise TryAgainError(
                "foreign_page", f"{self._settings.name} gives its next page at another address than `url`, which counts"
            )
        return str(url)

    def _page(self, address: str, parameters: Mapping[str, str | list[str]], kind: str) -> Page:
        name = self._settings.name
        try:
            with self._client.stream("GET", address, params=parameters or None) as answer:
                if answer.is_redirect:
                    raise TryAgainError("redirect", f"{name} redirects ({answer.status_code}); give its final address")
                if answer.status_code != 200:
                    status = answer.status_code
                    raise TryAgainError(f"http_{status}", f"{name} answered {status}; check its address and rights")
                found = json.loads(self._content(answer))
        except httpx.HTTPError as error:
            raise unreachable(name, error) from None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or found.get("resourceType") != kind:
            raise TryAgainError("not_fhir", f"{name} answered with something other than a {kind}")
        return found

    def _content(self, answer: httpx.Response) -> bytes:
        """The body, as long as it is small and comes fast enough."""
        content = bytearray()
        for block in blocks(answer, self._settings.name, self._settings.timeout_seconds):
            content += block
            if len(content) > _MOST_BYTES:
                raise TryAgainError("too_much", f"{self._settings.name} gives too much at once; ask for smaller pages")
        return bytes(content)
