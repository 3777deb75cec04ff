"""ORU^R01 messages to final reports, and their acknowledgements."""

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

from hospital.labels.hl7 import Hl7Error, Message, acknowledgement, final_reports
from hospital.labels.reports import FinalReport
from tests.hospital.labels.messages import coded, oru, study


def read(content: bytes) -> list[FinalReport]:
    return final_reports(Message.parse(content))


def test_a_final_report_names_its_study_patient_accession_number_and_codes() -> None:
    (report,) = read(oru(study("1.2.3"), coded("NEG")))
    assert report.study_uid == "1.2.3"
    assert report.accession_numbers == {"A1", "F9", "O9"}
    assert report.patient_ids == {"4711"}
    assert report.codes == {"NEG"}
    assert not report.withdrawn


@pytest.mark.parametrize(
    ("status", "withdrawn"),
    [("F", [False]), ("C", [False]), ("X", [True]), ("P", []), ("R", []), ("", [])],
)
def test_what_is_not_final_says_nothing_and_what_is_cancelled_takes_back(status: str, withdrawn: list[bool]) -> None:
    assert [report.withdrawn for report in read(oru(coded("NEG"), status=status))] == withdrawn


@pytest.mark.parametrize(
    "observation", [coded("NEG", status="P"), "TX|55110-1^Conclusion^LN||NEG||||||F", "NM|1^x^L||NEG||||||F"]
)
def test_a_preliminary_observation_and_text_have_no_code(observation: str) -> None:
    (report,) = read(oru(observation))
    assert report.codes == frozenset()


def test_each_order_of_a_message_is_a_report_of_its_own() -> None:
    second = b"OBR|2|O8|F8" + b"|" * 22 + b"F\rIPC|A2|P2|1.2.4\rOBX|1|" + coded("POS").encode()
    first, other = read(oru(study("1.2.3"), coded("NEG")) + second)
    assert (first.study_uid, sorted(first.codes)) == ("1.2.3", ["NEG"])
    assert (other.study_uid, sorted(other.codes)) == ("1.2.4", ["POS"])
    assert other.accession_numbers == {"O8", "F8", "A2"}


def test_other_separators_and_escapes_are_read() -> None:
    content = oru(study("1.2.3"), coded("N\\S\\G")).decode().replace("\\", "!").replace("^", "$").replace("|", "#")
    (report,) = read(content.encode())
    assert (report.study_uid, sorted(report.codes)) == ("1.2.3", ["N$G"])


@pytest.mark.parametrize("content", [b"", b"PID|1", b"MSH|", b"\xff\xfeM\0S\0H\0", oru(kind="ADT^A08")])
def test_other_messages_are_refused(content: bytes) -> None:
    with pytest.raises(Hl7Error):
        read(content)


def test_an_acknowledgement_is_valid_and_names_its_message() -> None:
    asked = Message.parse(oru(coded("NEG")))
    text = acknowledgement(asked, "AA").decode()
    found = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT, find_groups=False)
    assert (found.msa.msa_1.value, found.msa.msa_2.value) == ("AA", "M1")
    assert (found.msh.msh_3.value, found.msh.msh_5.value) == ("FRACTURE", "RIS")
    assert "ztürk" not in text
