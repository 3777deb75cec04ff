"""`make demo-hospital`: a gateway and Orthanc as its PACS, three synthetic studies sent, and the worklist shown.

Orthanc listens on every address, whatever it is told. So everything runs in a network namespace of its own, which has a
loopback and nothing else; with --serve, the worklist alone is handed out to the loopback of this machine.
"""

import argparse
import base64
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import cv2
import httpx
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from hospital import relay
from hospital.associating import associate
from hospital.errors import HospitalError
from hospital.worklist.accounts import PasswordHash
from serving import bundle as bundles
from serving.errors import BundleError

_INSIDE, _LISTENER = "FRACTURE_DEMO_INSIDE", "FRACTURE_DEMO_LISTENER"
_ROOT = Path(__file__).parents[1]
_PLUGINS = Path("/usr/share/orthanc/plugins")
_SECONDS = 300.0
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_GATEWAY_PORT, _OPERATION_PORT, _WORKLIST_PORT, _PACS_PORT, _REST_PORT = 11112, 11180, 11190, 4242, 8042
_USER = "demo"
_STUDIES = 3


def main() -> int:
    """Run the demonstration; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m hospital.demo", description=__doc__)
    parser.add_argument("--bundle", type=Path, help="the model; by default the one that `fracture serve` serves")
    parser.add_argument("--serve", action="store_true", help="then show the worklist as a page, until Ctrl+C")
    given = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started this in the background, without SIGINT
        signal.signal(number, _end)
    try:
        program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None or not (_PLUGINS / "libOrthancDicomWeb.so").exists():
            raise HospitalError("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
        if os.environ.get(_INSIDE) != "yes":
            return _inside(sys.argv[1:], given.serve)
        _loopback_up()
        with tempfile.TemporaryDirectory(prefix="fracture-demo-") as folder:
            demonstrate(Path(folder), program, given.bundle or bundles.find_default(_ROOT))
    except (HospitalError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nended")
    return 0


def _end(_number: int, _frame: FrameType | None) -> None:
    """End as Ctrl+C does, once: a second signal must not break off the clearing up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def demonstrate(folder: Path, program: str, bundle: Path) -> None:
    """Start both, send the studies, wait for the deliveries, and print what there is."""
    password = secrets.token_urlsafe(12)
    with _running([program, str(_orthanc(folder, password))], folder / "orthanc.log"):
        _until("Orthanc", lambda: _asked("/statistics", password) is not None)
        os.environ["HOSPITAL_AUTHORIZATION_WEB"] = _basic(password)
        words = secrets.token_urlsafe(12)
        os.environ["HOSPITAL_WORKLIST_USERS"] = f"{_USER}:{PasswordHash.of(words)}"
        command = [sys.executable, "-m", "hospital", "--config", str(_gateway(folder, bundle)), "run"]
        with _running(command, folder / "gateway.log"):
            _until("the gateway", lambda: _worklist() is not None)
            for dataset in studies(bundle):
                status = _sent(dataset)
                print(f"sent a study of {dataset.PatientName}: 0x{status:04X}", flush=True)
            _until("the deliveries", lambda: _delivered(_worklist() or []))
            _show(_worklist() or [])
            found = _asked("/statistics", password) or {}
            print("delivered by C-STORE with storage commitment, and by STOW-RS")
            print(f"Orthanc holds {found.get('CountInstances')} result objects of {found.get('CountStudies')} studies")
            _until("the audit trail", lambda: _audited(folder) >= 1 + 3 * _STUDIES)
            print(f"the audit trail holds {_audited(folder)} messages")
            if _LISTENER in os.environ:
                _serve(socket.socket(fileno=int(os.environ[_LISTENER])), words)


def studies(bundle: Path, count: int = _STUDIES) -> Iterator[FileDataset]:
    """Radiographs that nobody has: the bundle's synthetic samples as CR objects of invented patients."""
    samples = sorted((bundle / bundles.SAMPLES).glob("*.png"))
    for number, path in enumerate(samples[:count], 1):
        pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if pixels is None:
            raise HospitalError(f"{path}: cannot be read; restore the release")
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False, is_little_endian=True)
        made.SOPClassUID, made.Modality = ComputedRadiographyImageStorage, "CR"
        made.SOPInstanceUID, made.SeriesInstanceUID, made.StudyInstanceUID = (generate_uid() for _ in range(3))
        made.PatientName, made.PatientID = f"Synthetic^{number}", f"DEMO-{number}"
        made.PatientBirthDate, made.PatientSex, made.ReferringPhysicianName = "", "O", ""
        made.StudyDate, made.StudyTime = time.strftime("%Y%m%d"), time.strftime("%H%M%S")
        made.StudyID, made.AccessionNumber, made.Laterality = str(number), f"DEMO{number}", "L"
        made.StudyDescription = _region(path.stem)
        made.SeriesNumber, made.InstanceNumber, made.PatientOrientation = 1, 1, ["L", "F"]
        made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
        made.Rows, made.Columns = pixels.shape
        made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
        made.WindowCenter, made.WindowWidth = 127.5, 256
        made.add_new("PixelData", "OB", pixels.tobytes() + b"\0" * (pixels.size % 2))
        yield made


def _region(name: str) -> str:
    """What a sample shows, from `synthetic-3-forearm-normal` or `synthetic-4-upper-arm-comminuted-fracture`."""
    words = name.split("-")[2:]
    return " ".join(words[:-2] if words[-1] == "fracture" else words[:-1]).capitalize()


def _orthanc(folder: Path, password: str) -> Path:
    """Orthanc's configuration: it takes what the gateway sends, and reports commitment to it."""
    facts = {
        "Name": "Demonstration",
        "StorageDirectory": str(folder / "orthanc"),
        "IndexDirectory": str(folder / "orthanc"),
        "DicomAet": "PACS",
        "DicomPort": _PACS_PORT,
        "HttpPort": _REST_PORT,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"demo": password},
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": False,
        "DicomCheckModalityHost": False,
        "OverwriteInstances": False,
        "DicomModalities": {"fracture": ["FRACTURE", "127.0.0.1", _GATEWAY_PORT]},
        "Plugins": [str(_PLUGINS / "libOrthancDicomWeb.so")],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(facts), encoding="utf-8")
    return path


def _gateway(folder: Path, bundle: Path) -> Path:
    path = folder / "hospital.toml"
    path.write_text(
        f"""
[receiver]
port = {_GATEWAY_PORT}
disk_reserve_mb = 64

[model]
bundle = {json.dumps(str(bundle.resolve()))}

[study]
stable_seconds = 2

[operation]
port = {_OPERATION_PORT}

[audit]

[worklist]
port = {_WORKLIST_PORT}

[[destinations]]
kind = "dicom"
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {_PACS_PORT}

[[destinations]]
kind = "stow"
name = "web"
url = "http://127.0.0.1:{_REST_PORT}/dicom-web"
""",
        encoding="utf-8",
    )
    return path


def _inside(words: list[str], serve: bool) -> int:
    """Run this module again in a network namespace of its own; a socket that listens stays in that of this one."""
    flags = ["-n"] if os.geteuid() == 0 else ["-r", "-n"]
    command = ["unshare", *flags, sys.executable, "-m", "hospital.demo", *words]
    environment = {**os.environ, _INSIDE: "yes"}
    listener = relay.listen(_WORKLIST_PORT) if serve else None
    handed = (listener.fileno(),) if listener else ()
    if listener:
        environment[_LISTENER] = str(listener.fileno())
    try:
        process = subprocess.Popen(command, env=environment, pass_fds=handed)  # noqa: S603  fixed words
    except FileNotFoundError:
        raise HospitalError("unshare is not installed; the demonstration runs on Linux alone") from None
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()  # Ctrl+C reached it as well, a signal to this process alone did not; it clears up
        return process.wait()


def _serve(listener: socket.socket, words: str) -> None:
    """Hand the worklist out until somebody ends it."""
    relay.relay(listener, _WORKLIST_PORT)
    print(f"\nworklist: http://127.0.0.1:{listener.getsockname()[1]}/   name {_USER}   password {words}")
    print("end it with Ctrl+C", flush=True)
    while True:
        time.sleep(3600)


def _audited(folder: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in (folder / "audit").glob("audit-*.log"))


def _loopback_up() -> None:
    """Switch the loopback of a new namespace on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", _IFF_UP)
        try:
            fcntl.ioctl(control, _SIOCSIFFLAGS, request)
        except OSError as error:
            raise HospitalError(f"no network namespace: {error.strerror}; run it as root") from None


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as lines:
        process = subprocess.Popen(command, cwd=_ROOT, stdout=lines, stderr=lines)  # noqa: S603  fixed words
    try:
        yield
    except HospitalError as error:
        told = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise HospitalError("; ".join([str(error), *told])) from None
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _until(what: str, there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not there():
        if time.monotonic() > deadline:
            raise HospitalError(f"{what} did not come within {_SECONDS:.0f} seconds")
        time.sleep(0.3)


def _asked(path: str, password: str = "", port: int = _REST_PORT) -> Any:
    """JSON from Orthanc or the gateway; None where it does not answer."""
    headers = {"authorization": _basic(password)} if password else {}
    with suppress(httpx.HTTPError, ValueError):
        answer = httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=5, trust_env=False)
        return answer.raise_for_status().json()
    return None


def _basic(password: str) -> str:
    return f"Basic {base64.b64encode(f'demo:{password}'.encode()).decode()}"


def _worklist() -> list[dict[str, Any]] | None:
    found = _asked("/worklist.json", port=_OPERATION_PORT)
    return None if found is None else list(found["studies"])


def _delivered(entries: list[dict[str, Any]]) -> bool:
    return len(entries) == _STUDIES and all(set(one["delivery"].values()) == {"done"} for one in entries)


def _sent(dataset: pydicom.Dataset) -> int:
    entity = AE("MODALITY")
    entity.add_requested_context(dataset.SOPClassUID, ExplicitVRLittleEndian)
    association = associate(entity, "127.0.0.1", _GATEWAY_PORT, ae_title="FRACTURE")
    if not association.is_established:
        raise HospitalError("the gateway takes no association")
    status = int(association.send_c_store(dataset).get("Status", 0xFFFF))
    association.release()
    return status


def _show(entries: list[dict[str, Any]]) -> None:
    print("\nsuspicion  probability  patient          statement")
    for one in entries:
        share = "" if one["probability"] is None else f"{one['probability']:.0%}"
        told = (one["suspicion"] or "-", share, one["patient"].get("name", ""), one["statement"])
        print("{:<9}  {:>11}  {:<15}  {}".format(*told))
    print()


if __name__ == "__main__":
    sys.exit(main())
