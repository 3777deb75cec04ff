"""What an ADT message says of patients, and how it is acknowledged."""

from contextlib import suppress

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given, settings
from hypothesis import strategies as st

from hospital.adt.messages import Told, UnacceptableError, acknowledgement, read, refusal
from tests.hospital.adt.messages import adt, merge, pid, update


def told(message: str, authority: str = "", encoding: str = "utf-8") -> Told:
    (found,) = read(message.encode(encoding), authority).told
    return found


@pytest.mark.parametrize("message", [update(), merge("4711", "4712")])
def test_messages_of_these_tests_follow_the_tables(message: str) -> None:
    assert parse_message(message, VALIDATION_LEVEL.TOLERANT, find_groups=True).validate()


@pytest.mark.parametrize("event", ["A08", "A31"])
def test_update_gives_name_birth_date_and_sex(event: str) -> None:
    assert told(update(event=event)) == Told("4711", "Öztürk^Отто^Ivan^Dr.^jun.", "19700102", "F")


def test_merge_names_who_was_merged() -> None:
    found = read(merge("4711", "4712", "4713").encode(), "").told
    assert [(one.patient_id, one.prior_id) for one in found] == [("4711", "4712"), ("4711", "4713")]


def test_fields_that_are_left_out_say_nothing() -> None:
    assert told(adt("A08", "PID|1||4711")) == Told("4711")


def test_fields_with_two_quotes_take_the_value_back() -> None:
    assert told(update(name='""', birth='""', sex='""')) == Told("4711", "", "", "")


NAMES = {
    "of two names the legal one": ("Kuenstler^A^^^^^A~Müller^Eva^^^^^L", "Müller^Eva"),
    "with its ideographic and phonetic form": (
        "Wang^XiaoDong^^^^^L^A~王^小東^^^^^L^I~Wáng^Xiǎo^^^^^L^P",
        "Wang^XiaoDong=王^小東=Wáng^Xiǎo",
    ),
    "with separators of HL7 in it": (r"A\T\B^C\S\D\F\E", "A&B^CD|E"),
    "with formatting and hexadecimal signs": (r"M\X C3BC\ller^Eva".replace(" ", ""), "Müller^Eva"),
    "with the surname's parts": ("van Dam&van&Dam^Jan", "van Dam^Jan"),
}


@pytest.mark.parametrize("name", NAMES)
def test_name(name: str) -> None:
    given, expected = NAMES[name]
    assert told(update(name=given)).name == expected


@pytest.mark.parametrize(("charset", "encoding"), [("8859/1", "latin-1"), ("8859/15", "iso8859-15"), ("", "utf-8")])
def test_text_is_read_in_the_character_set_of_the_header(charset: str, encoding: str) -> None:
    assert told(adt("A08", pid(name="Müller^Eva"), charset=charset), encoding=encoding).name == "Müller^Eva"


@pytest.mark.parametrize(("birth", "expected"), [("197001020815", "19700102"), ("1970", None), ("19701399", None)])
def test_birth_date_is_one_or_says_nothing(birth: str, expected: str | None) -> None:
    assert told(update(birth=birth)).birth_date == expected


IDENTIFIERS = "99^^^OTHER~4711^^^CLINIC&1.2.3&ISO^MR"


@pytest.mark.parametrize(("authority", "expected"), [("", "99"), ("CLINIC", "4711"), ("1.2.3", "4711")])
def test_identifier_of_the_authority_counts(authority: str, expected: str) -> None:
    assert told(update(IDENTIFIERS), authority).patient_id == expected


def test_patient_of_another_authority_is_nobody_here() -> None:
    assert read(update("99^^^OTHER").encode(), "CLINIC").told == []


@pytest.mark.parametrize("event", ["A01", "A04", "A28"])
def test_other_events_say_nothing(event: str) -> None:
    assert read(adt(event, pid()).encode(), "").told == ()


REFUSALS = {
    "another kind of message": (adt("R01", pid(), kind="ORU"), "AR", "200"),
    "an unknown character set": (adt("A08", pid(), charset="KLINGON"), "AR", "102"),
    "no PID": (adt("A08"), "AE", "100"),
    "no patient in it": (adt("A08", "PID|1||"), "AE", "101"),
    "no MRG": (adt("A40", pid()), "AE", "100"),
    "MRG without PID": (adt("A40", "MRG|1"), "AE", "100"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_says_why_in_the_tables_words(name: str) -> None:
    message, code, error = REFUSALS[name]
    with pytest.raises(UnacceptableError) as raised:
        read(message.encode(), "")
    answer = parse_message(refusal(raised.value).decode(), VALIDATION_LEVEL.STRICT)
    assert answer.validate()
    assert [answer.msa.msa_1.value, answer.msa.msa_2.value, answer.err.err_3.err_3_1.value] == [code, "C1", error]


def test_text_in_another_character_set_is_refused() -> None:
    with pytest.raises(UnacceptableError, match="MSH-18"):
        read(update(name="Müller").encode("latin-1"), "")


@pytest.mark.parametrize("content", [b"", b"PID|1||4711", b"MSH|", b"\xff\xfe"])
def test_bytes_that_are_no_message(content: bytes) -> None:
    with pytest.raises(ValueError, match="MSH"):
        read(content, "")


def test_acknowledgement_names_the_message_and_its_sender() -> None:
    answer = parse_message(acknowledgement(read(update().encode(), "")).decode(), VALIDATION_LEVEL.STRICT)
    assert answer.validate()
    assert [answer.msa.msa_1.value, answer.msa.msa_2.value, answer.msh.msh_5.value] == ["AA", "C1", "HIS"]


@given(st.binary(max_size=40), st.sampled_from([update(), merge("4711", "4712")]), st.integers(0, 200))
@settings(max_examples=40, deadline=None)
def test_broken_bytes_are_a_message_or_refused(noise: bytes, message: str, at: int) -> None:
    content = message.encode()
    with suppress(ValueError, UnacceptableError):  # and nothing else
        read(content[:at] + noise + content[at + len(noise) // 2 :], "CLINIC")
