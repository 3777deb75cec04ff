"""The documents lead where they say."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRACKED = [
    ROOT / name
    for name in subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    if name and (ROOT / name).is_file()
]
PAGES = [path for path in TRACKED if path.suffix == ".md"]
TEXTS = {".py", ".md", ".yaml", ".yml", ".bicep", ".toml", ".json", ".cfg", ".js", ".html", ".css", ""}


def _anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        assert not anchor or anchor in _anchors(found), f"{target}#{anchor}"


def test_every_page_of_the_documentation_that_a_file_names_is_there() -> None:
    for path in TRACKED:
        if path.suffix in TEXTS and path != Path(__file__):
            for name in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(errors="replace")):
                assert (ROOT / name).is_file(), f"{path.relative_to(ROOT)}: {name}"


@pytest.mark.parametrize("folder", ["docs", "docs/cloud"])
def test_the_index_of_a_folder_has_a_line_for_every_page(folder: str) -> None:
    index = ROOT / folder / "README.md"
    pages = set((ROOT / folder).rglob("*.md")) - {index}
    if folder == "docs":
        pages -= {page for page in pages if page.parent.name == "cloud" and page.name != "README.md"}
    text = index.read_text()
    missing = [name for page in pages if f"]({(name := page.relative_to(index.parent).as_posix())})" not in text]
    assert not missing


def test_the_evidence_names_files_that_are_there() -> None:
    """A file without its folder lies in that of the file before it."""
    folder, count = ROOT, 0
    for name in re.findall(r"`([\w/*.-]+\.(?:py|json)|tests/[\w/-]+)`", (ROOT / "docs/evidence.md").read_text()):
        if name.endswith(".json") and "/" not in name:
            continue  # beside a model card
        path = ROOT / name if "/" in name else folder / name
        assert path.exists(), name
        folder, count = path.parent, count + 1
    assert count > 30
