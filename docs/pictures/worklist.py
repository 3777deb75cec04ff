"""Pictures of the hospital's worklist: python docs/pictures/worklist.py BUNDLE FOLDER.

A gateway's parts score the bundle's synthetic samples and two images that the model is not for; nobody is shown.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from playwright.sync_api import Browser, ViewportSize, sync_playwright
from pydicom.uid import generate_uid

from hospital import demo
from hospital.audit.settings import Audit
from hospital.audit.trail import AuditTrail
from hospital.config import Config, Study
from hospital.database import Database, Instance
from hospital.images import ImageWorker
from hospital.intake import Arrival, Intake
from hospital.metrics import Metrics
from hospital.parts import Parts
from hospital.queue import Backoff, Queue
from hospital.scoring.pool import PoolScorer
from hospital.spool import Spool
from hospital.studies import Assembler
from hospital.worklist.accounts import Accounts, PasswordHash
from hospital.worklist.app import Access
from hospital.worklist.server import WorklistServer
from hospital.worklist.settings import Worklist

_SIZES = {"phone": (360, 740), "screen": (1280, 800)}
_PORT = 3121
_WORDS = "synthetic studies only"
_VIEWER = "https://pacs.example.org/viewer?StudyInstanceUIDs={study_uid}"
_MINUTES_AGO = (48, 21, 9, 33, 5, 2)


def _studies(bundle: Path) -> Iterator[pydicom.Dataset]:
    """The demonstration's studies, one that shows nothing, and one that has only just come."""
    known = list(demo.studies(bundle, 4))
    yield from known
    blank = pydicom.dcmread(_file(known[0]))
    blank.PatientName, blank.PatientID, blank.AccessionNumber = "Synthetic^Blank", "DEMO-5", "DEMO5"
    blank.StudyDescription = "Test pattern"
    stripes = np.indices((blank.Rows, blank.Columns)).sum(0) % 16 * 16
    blank.PixelData = stripes.astype(np.uint8).tobytes() + b"\0" * (stripes.size % 2)
    blank.StudyInstanceUID, blank.SOPInstanceUID = generate_uid(), generate_uid()
    yield blank
    late = pydicom.dcmread(_file(known[1]))
    late.PatientName, late.PatientID, late.AccessionNumber = "Synthetic^Late", "DEMO-6", "DEMO6"
    late.StudyInstanceUID, late.SOPInstanceUID = generate_uid(), generate_uid()
    yield late


def _file(dataset: pydicom.Dataset) -> pydicom.filebase.DicomBytesIO:
    buffer = pydicom.filebase.DicomBytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    buffer.seek(0)
    return buffer


def _filled(folder: Path, bundle: Path) -> Parts:
    """A gateway's spool and database with these studies in them; the last one is not scored."""
    spool, database = Spool(folder / "spool"), Database(f"sqlite:///{folder}/gateway.db")
    spool.prepare()
    database.prepare()
    parts = Parts(database, Queue(database, "gateway", "here", 300, Backoff()), spool, Metrics())
    intake, scorer = Intake(parts, "gateway", 0), PoolScorer(bundle, 1)
    images = ImageWorker(scorer, parts, 0)
    assembler = Assembler(Config(study=Study(stable_seconds=0)), scorer.model, parts)
    sent = list(_studies(bundle))
    for number, dataset in enumerate(sent, start=1):
        partial = spool.partial / "arriving"
        partial.write_bytes(_file(dataset).getvalue())
        intake.take(Arrival(partial, str(dataset.SOPInstanceUID), str(dataset.SOPClassUID), "MODALITY"))
        while number < len(sent) and (images.step() or assembler.step()):
            pass
    scorer.close()
    with database.session() as session:
        for number, minutes in enumerate(_MINUTES_AGO, start=1):
            session.get_one(Instance, number).received_at = time.time() - 60 * minutes
    return parts


def _photograph(browser: Browser, target: Path) -> None:
    for size, (width, height) in _SIZES.items():
        for scheme in ("light", "dark"):
            page = browser.new_page(
                viewport=ViewportSize(width=width, height=height),
                color_scheme="dark" if scheme == "dark" else "light",
            )
            page.goto(f"http://127.0.0.1:{_PORT}/")
            page.screenshot(path=target / f"login-{size}-{scheme}.png")
            page.get_by_label("Name").fill("reader")
            page.get_by_label("Password").fill(_WORDS)
            page.get_by_role("button", name="Log in").click()
            page.get_by_text("As of").wait_for()
            page.screenshot(path=target / f"worklist-{size}-{scheme}.png", full_page=True)


def main(bundle: Path, target: Path) -> None:
    """Write the pictures into `target`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = _filled(folder, bundle)
        trail = AuditTrail(Audit(folder=folder / "audit"), "gateway")
        trail.prepare()
        settings = Worklist(port=_PORT, viewer=_VIEWER)
        accounts = Accounts(None, f"reader:{PasswordHash.of(_WORDS)}")
        server = WorklistServer(settings, parts, Access.by(settings, accounts, trail))
        server.start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            _photograph(browser, target)
            browser.close()
        server.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
