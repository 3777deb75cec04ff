"""Great Expectations' Data Docs as plain, self-contained HTML: no script, no remote address."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path

from pipeline.files import write_text

_DROPPED_WITH_CONTENT = {"script", "style", "iframe", "noscript", "nav"}
_DROPPED = {"link", "meta", "base", "img", "input"}
_KEPT_ATTRIBUTES = {"class", "colspan", "rowspan", "title"}
_REMOTE = re.compile(r"(https?:)?//[^\s\"'<>]+")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2733; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #d5dce3; padding: .4rem .6rem; text-align: left; vertical-align: top; }
figure { margin: .5rem 0 1rem; } figure img { max-width: 100%; } figcaption { font-size: .85em; }
h1, h2, h3, h4, h5 { margin: 1.2rem 0 .4rem; } code, pre { background: #f2f5f8; }
.text-success { color: #18713c; } .text-danger { color: #a3241f; } .badge { background: #eef2f6; padding: 0 .4rem; }
@media (prefers-color-scheme: dark) {
  body { background: #12181f; color: #dbe4ec; } th, td { border-color: #33404d; }
  code, pre, .badge { background: #1d2731; } .text-success { color: #69c58f; } .text-danger { color: #f0857f; }
}
"""


class _Plain(HTMLParser):
    """Rewrites a page, keeping its structure and text and nothing that loads or runs."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _DROPPED_WITH_CONTENT:
            self._hidden += 1
        elif not self._hidden and tag not in _DROPPED and tag not in {"html", "head", "body", "title"}:
            kept = "".join(
                f' {name}="{_local(value or "", True)}"' for name, value in attrs if name in _KEPT_ATTRIBUTES
            )
            self.parts.append(f"<{tag}{kept}>")

    def handle_endtag(self, tag: str) -> None:
        if tag in _DROPPED_WITH_CONTENT:
            self._hidden = max(0, self._hidden - 1)
        elif not self._hidden and tag not in _DROPPED and tag not in {"html", "head", "body", "title"}:
            self.parts.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.parts.append(_local(data, quote=False))


def _local(text: str, quote: bool) -> str:
    return html.escape(_REMOTE.sub("", text), quote=quote)


def plain_page(source: str, title: str) -> str:
    """One Data Docs page without scripts, pictures, styles or addresses from elsewhere."""
    return _page(_plain(source), title)


def _plain(source: str) -> str:
    parser = _Plain()
    parser.feed(source)
    parser.close()
    return "".join(parser.parts)


def _page(body: str, title: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def publish(pages: dict[str, str], summary: str, target: Path, pictures: str = "") -> None:
    """Write Data Docs pages (name -> HTML) and an index that begins with `summary` (HTML) into `target`.

    `pictures` is our own HTML that shows files of `target`; it ends the index as it is.
    """
    links = "".join(f'<li><a href="{name}.html">{html.escape(name)}</a></li>' for name in pages)
    for name, source in pages.items():
        write_text(target / f"{name}.html", plain_page(source, f"Data Docs: {name}"))
    body = f"<h1>Validation of the data set</h1>{_plain(summary)}<ul>{links}</ul>{pictures}"
    write_text(target / "index.html", _page(body, "Data Docs"))
