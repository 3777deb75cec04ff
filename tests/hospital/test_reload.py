"""hospital.toml read again by a gateway that runs: nothing lost, everything or nothing taken over."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pynetdicom import AE
from pynetdicom.association import Association

from hospital import cli
from hospital.adt.settings import Adt
from hospital.associating import associate
from hospital.config import Config, Model, Operation, Receiver
from hospital.errors import HospitalError
from hospital.reload import ProcessFile, ask, check_change, foretell
from tests.hospital.conftest import Listen
from tests.hospital.objects import radiograph
from tests.hospital.peers import ROOT, Pacs, RunningGateway, dicom_destination, eventually, send
from tests.ports import free_port


@pytest.mark.parametrize(
    ("key", "changed"),
    [
        ("spool", {"spool": Path("other")}),
        ("name", {"name": "other"}),
        ("model", {"model": Model(processes=3)}),
        ("receiver.port", {"receiver": Receiver(port=5)}),
        ("adt", {"adt": Adt()}),
        ("operation.host", {"operation": Operation(host="127.0.0.2")}),
    ],
)
def test_change_that_needs_a_restart_names_its_key(key: str, changed: dict[str, Any]) -> None:
    with pytest.raises(HospitalError, match=f"^{key}: changes with a restart only"):
        check_change(Config(), Config(**changed))


def test_everything_that_needs_a_restart_is_named_in_one_line() -> None:
    with pytest.raises(HospitalError, match=r"^name, adt: change with a restart only; nothing was changed$"):
        check_change(Config(), Config(name="other", adt=Adt()))


def test_check_foretells_what_a_reload_would_do_with_a_file(tmp_path: Path) -> None:
    config = Config(spool=tmp_path)
    assert foretell(config) == ""
    process = ProcessFile(config)
    process.announce()
    # The lock is this process's own, and so seen by another one alone.
    script = (
        "import sys; from pathlib import Path; from hospital.config import Config; from hospital.reload import foretell"
    )
    told = "for name in 'gateway', 'other': print(foretell(Config(spool=Path(sys.argv[1]), name=name)))"
    asked = [sys.executable, "-c", f"{script}\n{told}", str(tmp_path)]
    try:
        lines = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    finally:
        process.close()
    assert lines == ["`fracture hospital reload` takes this file over", "name: changes with a restart only"]


def test_change_to_a_shared_spool_is_foretold_to_need_a_restart(tmp_path: Path) -> None:
    config = Config(spool=tmp_path)
    process = ProcessFile(config)
    process.announce()
    asked = (
        "import sys; from pathlib import Path; from hospital.config import Config;"
        "from hospital.reload import foretell;"
        "print(foretell(Config(spool=Path(sys.argv[1]), shared_spool=True)))"
    )
    command = [sys.executable, "-c", asked, str(tmp_path)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    process.close()
    assert told == "shared_spool: changes with a restart only\n"


def test_gateway_on_another_machine_is_not_told_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(spool=tmp_path, shared_spool=True, name="east")
    process = ProcessFile(config)
    process.announce()
    monkeypatch.setattr("hospital.reload._is_locked", lambda path: path.name == "gateway-east.process")
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    monkeypatch.setattr("os.kill", lambda *_: pytest.fail("another process was told"))
    with pytest.raises(HospitalError, match=r"gateway east runs on .*; reload it there"):
        ask(config)
    process.close()


def test_titles_peers_and_limits_change_without_a_restart() -> None:
    check_change(
        Config(), Config(receiver=Receiver(ae_title="OTHER", idle_seconds=5), operation=Operation(lease_seconds=9))
    )


def open_association(port: int, called: str = "FRACTURE") -> Association:
    entity = AE("MODALITY")
    sent = radiograph()
    entity.add_requested_context(sent.SOPClassUID, sent.file_meta.TransferSyntaxUID)
    return associate(entity, "127.0.0.1", port, ae_title=called)


def test_open_association_goes_on_and_the_next_one_meets_the_new_table(listen: Listen) -> None:
    receiver = listen()
    held = open_association(receiver.port)
    receiver.adopt(Receiver(port=receiver.port, ae_title="OTHER", peers=[{"ae_title": "CR1"}], disk_reserve_mb=0))  # type: ignore[arg-type]
    assert held.send_c_store(radiograph()).Status == 0x0000
    held.release()
    assert send(receiver.port, radiograph()) == []
    assert send(receiver.port, radiograph(), called="OTHER") == []
    assert send(receiver.port, radiograph(), called="OTHER", calling="CR1") == [0x0000]


def test_smaller_objects_are_taken_after_a_reload(listen: Listen) -> None:
    receiver = listen()
    large = radiograph(PixelData=bytes(3 << 20))
    assert send(receiver.port, large) == [0x0000]
    receiver.adopt(Receiver(port=receiver.port, max_object_mb=1, disk_reserve_mb=0))
    assert send(receiver.port, radiograph(PixelData=bytes(3 << 20))) in ([], [-1])


class Running:
    """A gateway whose file a test rewrites."""

    def __init__(self, folder: Path, *destinations: str) -> None:
        self.gateway = RunningGateway(folder, None, *destinations)
        self._first = self.gateway.config.read_text()
        self.key = folder / "web-key"
        self.key.touch()

    def write(self, *changes: tuple[str, str], tail: str = "") -> None:
        """Write the file as it was at the start, with changes, and a file without a key."""
        self.key.write_text("")
        text = self._first
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        self.gateway.config.write_text(f"{text}\n{tail}")

    def lines(self, event: str) -> list[dict[str, Any]]:
        """What was logged of a kind."""
        found = [json.loads(line) for line in self.gateway.lines().splitlines()]
        return [one for one in found if one["event"] == event]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run a gateway without a destination."""
    found = Running(tmp_path_factory.mktemp("reload"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOSPITAL_WEB_KEY_FILE", str(found.key))
        with found.gateway:
            yield found


def command(gateway: RunningGateway) -> int:
    """`fracture hospital reload`, in this process."""
    return cli.main(["--config", str(gateway.config), "reload"])


def test_command_without_a_gateway_has_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(Running(tmp_path).gateway) == 1
    assert capsys.readouterr().err.startswith(f"error: no gateway runs in {tmp_path}/spool")


def test_destination_and_port_for_stow_come_with_a_reload(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    gateway, port = running.gateway, free_port()
    held = open_association(gateway.port)
    with Pacs("LATE", commitment="same") as pacs:
        running.write(tail=f"{dicom_destination(pacs)}\n[web_receiver]\nport = {port}")
        assert command(gateway) == 0
        assert capsys.readouterr().out == f"{gateway.config}: taken over\n"
        sent = radiograph()
        assert held.send_c_store(sent).Status == 0x0000
        held.release()
        eventually(lambda: {one.Modality for one in pacs.stored.values()} == {"OT", "PR", "SR"}, 120)
    assert "deliver-late" in running.lines("reloaded")[-1]["changed"]
    assert "web_receiver" in running.lines("reloaded")[-1]["changed"]


@pytest.mark.parametrize(
    ("changes", "tail", "line"),
    [
        pytest.param([("stable_seconds = 0.5", "stable_seconds = -1")], "", "study.stable_seconds", id="value"),
        pytest.param([], "[reciever]", "there is no such key", id="key"),
        pytest.param([], "[[polls]", "cannot be read", id="no TOML"),
        pytest.param([("[results]", "[results]\n[web_receiver]\nhost = '0.0.0.0'")], "", "HOSPITAL_WEB_KEY", id="key"),
        pytest.param([("processes = 1", "processes = 2")], "", "model: changes with a restart only", id="restart"),
    ],
)
def test_bad_file_keeps_the_old_configuration_and_says_so_in_one_line(
    running: Running, changes: list[tuple[str, str]], tail: str, line: str
) -> None:
    gateway, before = running.gateway, len(running.lines("reload_refused"))
    running.write(*changes, tail=tail)
    assert gateway.process
    gateway.process.send_signal(signal.SIGHUP)
    eventually(lambda: len(running.lines("reload_refused")) == before + 1)
    assert line in running.lines("reload_refused")[-1]["reason"]
    assert send(gateway.port, radiograph()) == [0x0000]
    assert 'hospital_reloads_total{outcome="refused"}' in gateway.get("/metrics").decode()


def test_command_says_why_a_file_is_refused(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.write(("processes = 1", "processes = 2"))
    assert command(running.gateway) == 1
    assert capsys.readouterr().err == "error: model: changes with a restart only; nothing was changed\n"


def test_second_gateway_in_the_same_spool_has_one_line(running: Running) -> None:
    with pytest.raises(HospitalError, match="in use by another gateway; stop it, or name another"):
        ProcessFile(Config(spool=running.gateway.folder / "spool"))


def test_key_in_a_file_is_exchanged(running: Running) -> None:
    key, port = running.key, free_port()
    running.write(tail=f"[web_receiver]\nport = {port}")
    statuses = []
    for written in ("first", "second"):
        key.write_text(written)
        assert command(running.gateway) == 0
        asked = httpx.post(
            f"http://127.0.0.1:{port}/studies", headers={"authorization": "Bearer second"}, trust_env=False, timeout=10
        )
        statuses.append(asked.status_code)
    assert statuses == [401, 415]
