"""Codes of anatomic regions, against the copy of the standard's context groups that pydicom carries."""

from typing import Any

from pydicom.sr import _cid_dict, _concepts_dict, _snomed_dict

from serving.anatomy import MEANINGS


def test_every_code_of_the_context_group_has_its_meaning() -> None:
    concepts: Any = _concepts_dict.concepts["SCT"]
    expected = {
        code: meaning for name in _cid_dict.cid_concepts[4031]["SCT"] for code, (meaning, *_) in concepts[name].items()
    }
    assert expected.items() <= MEANINGS.items()


def test_older_codes_mean_what_newer_ones_do() -> None:
    newer = _snomed_dict.mapping["SRT"]
    for code, meaning in MEANINGS.items():
        if code in newer and newer[code] in MEANINGS:
            assert MEANINGS[newer[code]] == meaning
