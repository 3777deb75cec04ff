"""Pages from the templates in `web/`; every value that is put in is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from hospital.worklist.entries import PATIENT, RANKS, Entry, Page
from hospital.worklist.settings import Worklist

_WEB = Path(__file__).parent / "web"
_SHARED = Path(__file__).parents[2] / "serving/web"
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = (_SHARED / "base.css", _SHARED / "icon.svg", _WEB / "worklist.css", _WEB / "worklist.js")
_TITLES = {
    "high": "High suspicion",
    "possible": "Possible",
    "": "No answer",
    "none": "No suspicion",
}
_STATES = {"pending": "Pending", "no_answer": "No answer", "failed": "Failed"}
_WORDS = {"high": "High", "possible": "Possible", "none": "None"}
_BARS = {"high": 2, "possible": 1, "none": 0}
_DELIVERIES = {"done": "delivered", "dead": "delivery failed", "dropped": "not delivered"}


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    content: bytes
    media_type: str


@cache
def assets() -> dict[str, Asset]:
    """What the page loads, by name: the service's own style, and the little that is added here."""
    return {path.name: Asset(path.read_bytes(), _TYPES[path.suffix]) for path in _FILES}


@cache
def _templates() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_WEB),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"ago": _ago, "date": _date, "person": _person, "moment": _moment, "sentence": _sentence}
    return found


def login(form_token: str, trouble: str = "", name: str = "") -> str:
    """The page that asks for name and password."""
    return _templates().get_template("login.html.jinja").render(form_token=form_token, trouble=trouble, name=name)


def worklist(shown: Page, settings: Worklist, user: str, form_token: str, now: float) -> str:
    """The page with the studies."""
    groups = [
        (suspicion or "unanswered", title, shown.counts[suspicion], _of(shown.entries, suspicion))
        for suspicion, title in ((one, _TITLES[one]) for one in RANKS)
    ]
    return (
        _templates()
        .get_template("worklist.html.jinja")
        .render(
            groups=groups,
            page=shown,
            user=user,
            form_token=form_token,
            now=now,
            states=_STATES,
            words=_WORDS,
            filled=_BARS,
            blank=dict.fromkeys(PATIENT, ""),
            delivery=_delivery,
            refresh=settings.refresh_seconds,
            has_viewer=bool(settings.viewer),
            link=lambda one: settings.viewer_link(
                one.study_uid, one.patient.get("accession_number", ""), one.patient.get("id", "")
            ),
        )
    )


def _delivery(one: Entry) -> str:
    """Where the results of a study are on their way."""
    states = set(one.delivery.values())
    worst = next((state for state in ("dead", "waiting", "leased", "dropped", "done") if state in states), "")
    return _DELIVERIES.get(worst, "being delivered")


def _of(entries: Sequence[Entry], suspicion: str) -> list[Entry]:
    return [one for one in entries if one.suspicion == suspicion]


def _ago(seconds: float) -> str:
    """A time span as people say it."""
    minutes = max(0, int(seconds // 60))
    if minutes < 60:
        return f"{minutes} min ago"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min ago"
    return f"{minutes // 1440} days ago"


def _date(value: str) -> str:
    """A date of DICOM as ISO 8601; what is none stays as it is."""
    return f"{value[:4]}-{value[4:6]}-{value[6:8]}" if len(value) == 8 and value.isdigit() else value


def _person(value: str) -> str:
    """A person's name without DICOM's separators: the alphabetic group, or the first that is not empty."""
    group = next((one for one in value.split("=") if one.strip("^ ")), "")
    family, _, rest = group.partition("^")
    given = " ".join(part for part in rest.split("^") if part)
    return f"{family}, {given}" if family and given else family or given


def _sentence(value: str) -> str:
    """With a capital at its beginning."""
    return value[:1].upper() + value[1:]


def _moment(seconds: float) -> str:
    """A point in time as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
