"""The gateway's answers and the labels of reports in a real store, from both back ends."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hospital.adt.corrections import keep
from hospital.adt.messages import Told
from hospital.config import Config, Results, Study
from hospital.errors import HospitalError
from hospital.labels.keeper import StoreKeeper
from hospital.labels.origin import Origin
from hospital.labels.reports import FinalReport
from hospital.labels.settings import Store
from hospital.parts import Parts
from hospital.scoring import Scored
from hospital.scoring.pool import answer
from pipeline.data.sources.feedback import confirmed
from serving.store.database import Database
from serving.store.pseudonyms import pseudonyms_of
from serving.store.records import AnswerRecord
from tests.hospital.conftest import Scorer, Site
from tests.hospital.labels.messages import coded, oru
from tests.hospital.labels.test_listener import acknowledged
from tests.hospital.objects import encoded, radiograph
from tests.hospital.peers import RunningGateway, eventually, send
from tests.hospital.scoring.test_backends import KEY, served
from tests.ports import free_port

CLASSES = ("normal", "fractured")
CODES = {"NEG": "normal", "POS": "fractured"}
QUICK = Config(study=Study(stable_seconds=0), results=Results(report=False, capture=False, presentation=False))
ORIGIN = Origin("north", "gateway", "p" * 32)


class KeptScorer(Scorer):
    """The released model in this process, whose answers come with their rows, as those of the pool do."""

    def score(self, content: bytes) -> Scored:
        return answer(self._predictor, content, ORIGIN)


@pytest.fixture(scope="module")
def kept_scorer() -> KeptScorer:
    return KeptScorer()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'answers.db'}")
    database.upgrade()
    yield database
    database.close()


def rows(store: Database) -> list[AnswerRecord]:
    return store.answers(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def test_an_answer_comes_with_a_row_that_says_the_same_and_names_nobody(kept_scorer: KeptScorer) -> None:
    content = encoded(radiograph())
    scored = kept_scorer.score(content)
    row, said = scored.row, scored.answer
    assert row is not None
    assert (row.answer_id, row.label, row.suspicion) == (said.answer_id, said.label, said.suspicion)
    assert row.probability == pytest.approx(said.probability, abs=1e-6)
    assert (row.site, row.caller, row.route) == ("north", "gateway", "gateway")
    assert row.model_sha256 == said.model.sha256
    names = pseudonyms_of(content, "north", "p" * 32)
    assert (row.patient, row.study) == (names.patient, names.study)
    assert not {"4711", "A1"} & {str(value) for value in vars(row).values()}


def test_answers_and_refusals_reach_the_store_once_and_a_reports_label_confirms_the_image(
    parts: Parts, kept_scorer: KeptScorer, store: Database, tmp_path: Path
) -> None:
    settings = Store(site="north", codes=CODES)
    keeper = StoreKeeper(settings, f"sqlite:///{tmp_path / 'answers.db'}", ORIGIN, parts.database, parts.metrics)
    site = Site(parts, kept_scorer, QUICK, keeper=keeper)
    first = radiograph()
    for dataset in (first, radiograph(BodyPartExamined="CHEST"), first):
        site.take(dataset)
        site.work()
    outcomes = keeper.take([FinalReport("", frozenset({"A1"}), frozenset({"4711"}), frozenset({"NEG"}))])
    assert outcomes == ["ambiguous_study"]  # both images bear one accession number
    assert keeper.take([FinalReport(first.StudyInstanceUID, codes=frozenset({"NEG"}))]) == ["labelled"]
    assert keeper.step()
    assert not keeper.step()
    keeper.close()
    assert sorted(row.refused or "" for row in rows(store)) == ["", "out_of_scope"]
    (image,) = confirmed.read(f"sqlite:///{tmp_path / 'answers.db'}", CLASSES).images
    assert (image.label, image.provenance, image.first.site) == ("normal", "report", "north")
    told = parts.metrics.exposition().decode()
    assert "hospital_store_written_total 2.0" in told
    assert 'hospital_reports_total{outcome="labelled"} 1.0' in told


@pytest.mark.parametrize("is_late", [False, True], ids=["before the merge", "after it"])
def test_answer_bears_the_pseudonym_of_the_patient_whom_its_own_was_merged_into(
    parts: Parts, kept_scorer: KeptScorer, store: Database, tmp_path: Path, is_late: bool
) -> None:
    url = f"sqlite:///{tmp_path / 'answers.db'}"
    keeper = StoreKeeper(Store(site="north", codes=CODES), url, ORIGIN, parts.database, parts.metrics)
    site = Site(parts, kept_scorer, QUICK, keeper=keeper, origin=ORIGIN)
    told = [Told("5000", prior_id="4711")]
    if is_late:
        keep(parts, told)
    site.take(radiograph())
    site.work()
    eventually(lambda: rows(store), 30)
    if not is_late:
        keep(parts, told)
        site.work()
    assert keeper.step()
    keeper.close()
    survivor = pseudonyms_of(encoded(radiograph(PatientID="5000")), "north", "p" * 32).patient
    assert [row.patient for row in rows(store)] == [survivor]


def test_a_store_that_is_away_holds_up_no_image_and_no_report(
    parts: Parts, kept_scorer: KeptScorer, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'later.db'}"
    keeper = StoreKeeper(Store(site="north", codes=CODES), url, ORIGIN, parts.database, parts.metrics)
    with pytest.raises(HospitalError, match=r"FRACTURE_STORE_URL: .* has no tables yet; run: python -m serving.store"):
        keeper.check()
    site = Site(parts, kept_scorer, QUICK, keeper=keeper)
    first = radiograph()
    site.take(first)
    site.work()
    assert keeper.take([FinalReport(first.StudyInstanceUID, codes=frozenset({"NEG"}))]) == ["labelled"]
    assert not keeper.step()
    late = Database(url)
    late.upgrade()
    eventually(keeper.step, 10)
    eventually(lambda: rows(late), 30)
    keeper.close()
    assert len(late.opinions()) == 1
    late.close()


@pytest.mark.slow
@pytest.mark.parametrize("back_end", ["pool", "service"])
def test_a_report_over_mllp_labels_what_either_back_end_answered(
    back_end: str, store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, port = f"sqlite:///{tmp_path / 'answers.db'}", free_port()
    tables = [
        '[store]\nsite = "north"\ncodes = {NEG = "normal", POS = "fractured"}',
        f"[store.reports]\nport = {port}",
    ]
    monkeypatch.setenv("FRACTURE_STORE_URL", url)
    monkeypatch.setenv("FRACTURE_PSEUDONYM_KEY", "p" * 32)
    sent = radiograph()
    with served(api_keys=(f"gateway:sender:north:{KEY}",), store_url=url) as service:
        monkeypatch.setenv("FRACTURE_SERVICE_URL", service)
        monkeypatch.setenv("FRACTURE_SERVICE_KEY", KEY)
        gateway = RunningGateway(tmp_path, None, *tables)
        if back_end == "service":
            text = gateway.config.read_text()
            (bundle,) = [line for line in text.splitlines() if line.startswith("bundle = ")]
            gateway.config.write_text(text.replace(bundle, "service = true"))
        with gateway:
            assert send(gateway.port, sent) == [0x0000]
            gateway.study(str(sent.StudyInstanceUID))
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                assert acknowledged(connection, oru(coded("NEG"))) == "AA"
            eventually(store.opinions, 30)
            (row,) = eventually(lambda: rows(store), 30)
            log = gateway.lines()
            said = gateway.command("check")
    assert "store: answers, as site north" in said.stdout, said.stderr
    assert row.route == {"pool": "gateway", "service": "predict"}[back_end]
    (opinion,) = store.opinions()
    assert (opinion.answer_id, opinion.label, opinion.source) == (row.answer_id, "normal", "report")
    assert not any(name in log for name in ("4711", "Öztürk", 'A1"'))
