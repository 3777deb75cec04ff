"""The commands that open everything: run and check. They are a module of their own as its imports take seconds."""

import gc
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from hospital import certificates, logs, sharing
from hospital.config import Config, Secrets
from hospital.database import Database
from hospital.dicomweb.client import DicomwebClient
from hospital.errors import DeadLetterError, HospitalError, TryAgainError
from hospital.gateway import Gateway, open_keeper, open_scorer, open_sender, open_trail
from hospital.labels.search import ReportSearch
from hospital.metrics import Metrics
from hospital.operation import OperationServer
from hospital.reload import foretell, reload
from hospital.room import ToldToEndError
from hospital.spool import Spool
from hospital.worklist.accounts import Accounts
from hospital.worklist.server import open_worklist


def run(config: Config, log_level: str, path: Path) -> int:
    """Receive, score and deliver until SIGINT or SIGTERM; at SIGHUP read the configuration at `path` again."""
    logs.configure(log_level)
    certificates.warn(config)
    secrets = Secrets.read(config)
    path = path.absolute()
    told, teller = _signals()
    try:
        gateway = Gateway(config, secrets, lambda: _is_told_to_end(told))
    except ToldToEndError:
        return 0
    server = OperationServer(config.operation, secrets.operation_key, gateway)
    worklist = open_worklist(config, secrets, gateway.parts, gateway.trail)

    def adopt(new: Config, new_secrets: Secrets) -> list[str]:
        changed = gateway.adopt(new, new_secrets)
        server.adopt(new_secrets.operation_key)
        if worklist is not None:
            worklist.adopt(new_secrets.worklist_key)
        return changed

    try:
        server.start()
        if worklist is not None:
            worklist.start()
        gateway.start()
        # pynetdicom collects garbage every few seconds while all threads wait: what stays for good is not looked at.
        gc.collect()
        gc.freeze()
        while told.recv(1)[0] == signal.SIGHUP:
            gateway.process.reloaded(reload(path, adopt, gateway.parts.metrics))
    except ToldToEndError:
        pass  # it had not begun to receive
    finally:
        server.close()
        if worklist is not None:
            worklist.close()
        gateway.close()
        signal.set_wakeup_fd(-1)
        told.close()
        teller.close()
    return 0


def _signals() -> tuple[socket.socket, socket.socket]:
    """A socket that gives the number of each signal that comes as a byte, and the one it is written to.

    A handler alone is not enough: it runs in the main thread, which sleeps on if another thread was given the signal.
    """
    told, teller = socket.socketpair()
    teller.setblocking(False)
    signal.set_wakeup_fd(teller.fileno(), warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return told, teller


def _is_told_to_end(told: socket.socket) -> bool:
    """Whether a signal to end has come; it stays to be read, as do those to reload."""
    try:
        numbers = told.recv(64, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return any(number != signal.SIGHUP for number in numbers)


def check(config: Config, path: Path) -> int:
    """Open what a start opens, and ask each destination and server; every one that fails gets a line."""
    logs.silence()
    secrets = Secrets.read(config)
    print(f"{path}: well-formed")
    if told := foretell(config):
        print(f"running gateway: {told}")
    Spool(config.spool, config.name if config.shared_spool else "").prepare()
    database = Database(config.database_url)
    database.prepare()
    sharing.check(config, database)
    print(f"database: {database.address}")
    scorer = open_scorer(config, secrets)
    print(f"model: {scorer.model.name} version {scorer.model.version}")
    scorer.close()
    keeper = open_keeper(config, secrets, database, Metrics())
    trail = open_trail(config)
    if config.worklist is not None:
        Accounts(config.worklist.users, secrets.worklist_users)
    out_of_date = certificates.out_of_date(config)
    for line in out_of_date:
        print(f"error: {path}: {line}", file=sys.stderr)
    answers = [not out_of_date]
    if trail is not None and config.audit is not None:
        places = [str(trail.folder), config.audit.syslog] if config.audit.syslog else [str(trail.folder)]
        answers.append(_answers("audit", " and ".join(places), trail.connect))
    if keeper is not None and config.store is not None:
        answers.append(_answers("store", f"answers, as site {config.store.site}", keeper.check))
    answers += [_answers(name, "answers", ask) for name, ask in _others(config, secrets)]
    return 0 if all(answers) else 1


def _others(config: Config, secrets: Secrets) -> list[tuple[str, Callable[[], None]]]:
    """Destinations and servers, and what asks each of them."""
    found: list[tuple[str, Callable[[], None]]] = [
        (f"destination {one.name}", open_sender(one, config.receiver.ae_title, secrets, lambda *_: None).echo)
        for one in config.destinations
    ]
    found += [
        (f"poll {one.name}", DicomwebClient(one, secrets.authorizations.get(one.name, "")).echo) for one in config.polls
    ]
    if config.store is not None and (reports := config.store.fhir) is not None:
        search = ReportSearch(reports, secrets.authorizations.get(reports.name, ""))
        found.append((f"store.fhir {reports.name}", search.echo))
    return found


def _answers(name: str, told: str, ask: Callable[[], None]) -> bool:
    """Whether what is asked answers, with a line that says so or why not."""
    try:
        ask()
    except HospitalError as error:
        print(f"error: {error}", file=sys.stderr)
    except (TryAgainError, DeadLetterError) as error:
        print(f"error: {name}: {error.message}", file=sys.stderr)
    else:
        print(f"{name}: {told}")
        return True
    return False
