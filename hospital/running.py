"""The commands that open everything: run and check. They are a module of their own as its imports take seconds."""

import signal
import sys
import threading
from pathlib import Path

from hospital import logs
from hospital.config import Config, Secrets
from hospital.database import Database
from hospital.errors import DeadLetterError, HospitalError, TryAgainError
from hospital.gateway import Gateway, open_scorer, open_sender, open_trail
from hospital.operation import OperationServer
from hospital.spool import Spool
from hospital.worklist.accounts import Accounts
from hospital.worklist.server import open_worklist


def run(config: Config, log_level: str) -> int:
    """Receive, score and deliver until SIGINT or SIGTERM."""
    logs.configure(log_level)
    secrets = Secrets.read(config)
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    gateway = Gateway(config, secrets)
    server = OperationServer(config.operation, secrets.operation_key, gateway)
    worklist = open_worklist(config, secrets, gateway.parts, gateway.trail)
    try:
        server.start()
        if worklist is not None:
            worklist.start()
        gateway.start()
        ending.wait()
    finally:
        server.close()
        if worklist is not None:
            worklist.close()
        gateway.close()
    return 0


def check(config: Config, path: Path) -> int:
    """Open what a start opens, and ask each destination; every destination that fails gets a line."""
    logs.silence()
    secrets = Secrets.read(config)
    print(f"{path}: well-formed")
    Spool(config.spool).prepare()
    database = Database(config.database_url)
    database.prepare()
    print(f"database: {database.url.render_as_string(hide_password=True)}")
    scorer = open_scorer(config, secrets)
    print(f"model: {scorer.model.name} version {scorer.model.version}")
    scorer.close()
    trail = open_trail(config)
    if config.worklist is not None:
        Accounts(config.worklist.users, secrets.worklist_users)
    failed = 0
    try:
        if trail is not None and config.audit is not None:
            trail.connect()
            print(f"audit: {trail.folder}" + (f" and {config.audit.syslog}" if config.audit.syslog else ""))
    except HospitalError as error:
        failed += 1
        print(f"error: {error}", file=sys.stderr)
    for destination in config.destinations:
        try:
            open_sender(destination, config.receiver.ae_title, secrets, lambda *_: None).echo()
            print(f"destination {destination.name}: answers")
        except (TryAgainError, DeadLetterError) as error:
            failed += 1
            print(f"error: destination {destination.name}: {error.message}", file=sys.stderr)
    return 1 if failed else 0
