"""What the service says to a clinician."""

import re
from pathlib import Path

from serving.decision import FRACTURED, NORMAL, SUSPICIOUS
from serving.wording import STATEMENTS, WARNINGS

INTERFACE = (Path(__file__).parents[2] / "docs/serving.md").read_text()


def test_every_combination_has_its_words() -> None:
    assert set(STATEMENTS) == {
        (NORMAL, "none"), (NORMAL, "possible"), (SUSPICIOUS, "high"), (FRACTURED, "possible"), (FRACTURED, "high"),
    }  # fmt: skip
    assert len(set(STATEMENTS.values())) == 5


def test_every_warning_is_in_the_documentation_of_the_interface() -> None:
    paragraph = INTERFACE.split("- `warnings` have")[1].split("\n- ")[0]
    assert set(WARNINGS) <= set(re.findall(r"`(\w+)`", paragraph))


def test_what_is_said_is_made_of_whole_sentences() -> None:
    for said in (*STATEMENTS.values(), *WARNINGS.values()):
        assert re.match(r"[A-Z{].*\.$", said), said
