"""The command line: run (the default), check, reload, queue, labels, export."""

import argparse
import getpass
import importlib
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from sqlalchemy.exc import DBAPIError

from hospital import config as configuration
from hospital import queue, reload
from hospital.config import DEFAULT_NAME, Config
from hospital.database import Database, Job
from hospital.errors import HospitalError
from hospital.worklist import accounts
from serving.errors import BundleError, SettingsError
from serving.store.wording import reason_of

_MOST = 2**63 - 1
"""The largest number that the database takes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. Bad input ends with one line and 1, wrong usage with 2."""
    given = _parser().parse_args(arguments)
    try:
        needs_configuration = given.run is not _password
        if not needs_configuration:
            return _password(given)
        return int(given.run(configuration.read(given.config), given) or 0)
    except (HospitalError, BundleError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except DBAPIError as error:  # a disk that is full, a server that went away
        print(f"error: database: {reason_of(error)}; mend that and start again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fracture hospital", description=__doc__)
    parser.add_argument("--config", type=Path, default=Path(DEFAULT_NAME), help="by default hospital.toml here")
    parser.add_argument("--log-level", choices=("debug", "info", "warning"), default="info")
    parser.set_defaults(run=_run)
    commands = parser.add_subparsers(title="commands", metavar="")
    commands.add_parser("run", help="receive, score and deliver until SIGTERM (the default)").set_defaults(run=_run)
    commands.add_parser("check", help="check hospital.toml, model, database and destinations").set_defaults(run=_check)
    labelling = commands.add_parser("labels", help="take final reports from files: FHIR DiagnosticReport, HL7 v2 ORU")
    labelling.add_argument("files", type=Path, nargs="+", metavar="FILE")
    labelling.set_defaults(run=_labels)
    exporting = commands.add_parser("export", help="write de-identified DICOM of received studies")
    exporting.add_argument("folder", type=Path, metavar="DIR")
    exporting.add_argument("--study", dest="studies", action="append", default=[], metavar="UID", help="by default all")
    exporting.add_argument("--reviewed", type=Path, metavar="FILE", help="UIDs of images whose text identifies nobody")
    exporting.add_argument("--table", type=Path, metavar="FILE", help="leads back to patients; by default in the spool")
    exporting.set_defaults(run=_export)
    commands.add_parser("reload", help="let the running gateway read hospital.toml again").set_defaults(run=_reload)
    password = commands.add_parser("password", help="print a user's line for the worklist's file of users")
    password.add_argument("name")
    password.set_defaults(run=_password)
    jobs = commands.add_parser("queue", help="show the queue, or change it by hand")
    jobs.set_defaults(run=_list, states=list(queue.STATES[:3]), limit=50)
    actions = jobs.add_subparsers(metavar="")
    listing = actions.add_parser("list", help="jobs that are not done (the default)")
    listing.add_argument("--state", dest="states", action="append", choices=queue.STATES)
    listing.add_argument("--limit", type=_count, default=50)
    listing.set_defaults(run=_list)
    for name, text in (("retry", "start jobs again at once"), ("drop", "never do jobs")):
        action = actions.add_parser(name, help=text)
        action.add_argument("jobs", nargs="*", type=_count, metavar="JOB")
        action.add_argument("--dead", action="store_true", help="all dead letters")
        action.set_defaults(run=_retry if name == "retry" else _drop)
    for name, text in (("pause", "start no further job; objects are still received"), ("resume", "go on")):
        actions.add_parser(name, help=text).set_defaults(run=_pause if name == "pause" else _resume)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no number from 1 to {_MOST}")
    return int(text)


def _run(config: Config, given: argparse.Namespace) -> int:
    return int(_running().run(config, given.log_level, given.config))


def _password(given: argparse.Namespace) -> int:
    """Ask for a password, twice on a terminal, and print what the file of users holds of it."""
    if sys.stdin.isatty():
        password = getpass.getpass()
        if getpass.getpass("Again: ") != password:
            raise HospitalError("the two passwords differ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    accounts.check_new(given.name, password)
    print(f"{given.name}:{accounts.PasswordHash.of(password)}")
    return 0


def _check(config: Config, given: argparse.Namespace) -> int:
    return int(_running().check(config, given.config))


def _export(config: Config, given: argparse.Namespace) -> int:
    exporting = importlib.import_module("hospital.export")
    table = given.table or config.spool / exporting.DEFAULT_TABLE
    request = exporting.Request(given.folder, table, given.reviewed, tuple(given.studies))
    outcome = exporting.export(config, request)
    print(f"{given.folder}: {outcome}; {table} leads back to the patients, do not share it")
    return 0


def _labels(config: Config, given: argparse.Namespace) -> int:
    labelling = importlib.import_module("hospital.labels.files")
    print(labelling.take(config, given.files))
    return 0


def _reload(config: Config, given: argparse.Namespace) -> int:
    reload.ask(config)
    print(f"{given.config}: taken over")
    return 0


def _running() -> ModuleType:
    """Imported by those who need it: a look at the queue shall not wait for highdicom."""
    return importlib.import_module("hospital.running")


def _opened(config: Config) -> Database:
    database = Database(config.database_url)
    database.prepare()
    return database


def _list(config: Config, given: argparse.Namespace) -> int:
    with _opened(config).session() as session:
        jobs = queue.listed(session, given.states or queue.STATES[:3], given.limit)
        paused = queue.is_paused(session)
    if paused:
        print("paused: no job is started; go on with `fracture hospital queue resume`")
    for job in jobs:
        print(_line(job))
    if not jobs:
        print("no such jobs")
    return 0


def _line(job: Job) -> str:
    created = datetime.fromtimestamp(job.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    where = f" to {job.destination}" if job.destination else ""
    why = f"  {job.code}: {job.reason}" if job.code else ""
    return f"{job.id:>8}  {job.state:<8} {job.kind}{where}  {created}  attempts {job.attempts}{why}"


def _retry(config: Config, given: argparse.Namespace) -> int:
    return _by_hand(config, given, "retried")


def _drop(config: Config, given: argparse.Namespace) -> int:
    return _by_hand(config, given, "dropped")


def _by_hand(config: Config, given: argparse.Namespace, done: str) -> int:
    if not given.jobs and not given.dead:
        raise HospitalError("name jobs by their number, or all dead letters with --dead")
    with _opened(config).session() as session:
        jobs = queue.listed(session, ["dead"], 1_000_000) if given.dead else []
        for number in given.jobs:
            found = session.get(Job, number)
            if found is None or found.state in {"done", "leased"}:
                state = "under way" if found is not None and found.state == "leased" else "done or unknown"
                raise HospitalError(f"job {number}: is {state}; nothing was changed")
            jobs.append(found)
        for job in jobs:
            queue.retry_by_hand(job) if done == "retried" else queue.drop_by_hand(session, job)
        print(f"{len(jobs)} {done}")
    return 0


def _pause(config: Config, _given: argparse.Namespace) -> int:
    with _opened(config).session() as session:
        queue.pause(session, True)
    print("paused; objects are still received")
    return 0


def _resume(config: Config, _given: argparse.Namespace) -> int:
    with _opened(config).session() as session:
        queue.pause(session, False)
    print("resumed")
    return 0
