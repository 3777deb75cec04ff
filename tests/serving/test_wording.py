"""What the service says to a clinician."""

import re
from pathlib import Path

from serving.decision import FRACTURED, NORMAL, SUSPICIOUS
from serving.wording import STATEMENTS, WARNINGS

ROOT = Path(__file__).parents[2]
INTERFACE, SERVING = (ROOT / "docs/serving.md").read_text(), ROOT / "serving"


def test_every_combination_has_its_words() -> None:
    assert set(STATEMENTS) == {
        (NORMAL, "none"), (NORMAL, "possible"), (SUSPICIOUS, "high"), (FRACTURED, "possible"), (FRACTURED, "high"),
    }  # fmt: skip
    assert len(set(STATEMENTS.values())) == 5


def test_every_warning_is_in_the_documentation_of_the_interface() -> None:
    paragraph = INTERFACE.split("- `warnings` have")[1].split("\n- ")[0]
    assert set(WARNINGS) <= set(re.findall(r"`(\w+)`", paragraph))


def test_the_codes_of_warnings_are_those_that_an_answer_may_carry() -> None:
    sources = "".join(path.read_text() for path in SERVING.rglob("*.py"))
    assert set(re.findall(r'Note\.of\(\s*"(\w+)"', sources)) == set(WARNINGS)


def test_what_is_said_is_made_of_whole_sentences() -> None:
    for said in (*STATEMENTS.values(), *WARNINGS.values()):
        assert re.match(r"[A-Z{].*\.$", said), said
