"""A spool that several gateways share: an identity that lies in it and that the database knows.

A job belongs to who holds its bytes. That is a gateway by its name, or a shared spool by its identity: then each
gateway that shares it may take the job.
"""

import fcntl
import os
import re
from pathlib import Path

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from hospital.config import Config
from hospital.database import Database, Instance, Job, Setting
from hospital.errors import HospitalError

_FILE = "shared.id"
_IDENTITY = re.compile(r"@[0-9a-f]{24}")
"""With a character that no gateway's name may hold."""
_OPEN = ("waiting", "leased", "dead")
_LOOKED_AT = 100
"""Of the images that a gateway received: where they lie, its other files do."""


def refuse(config: Config) -> None:
    """HospitalError for a gateway that asks for a spool of its own where several share one."""
    if not config.shared_spool and _read(config.spool):
        raise HospitalError(
            f"spool: {config.spool} is shared by several gateways; set `shared_spool = true` here too, or name another"
        )


def check(config: Config, database: Database) -> None:
    """HospitalError where a gateway cannot have the spool as it asks for it; nothing is changed."""
    refuse(config)
    if config.shared_spool:
        with database.reading() as session:
            _check_known(config, session, _read(config.spool))
            _check_own_jobs(config, session)


def take_up(config: Config, database: Database) -> str:
    """The identity of a shared spool, made at the first start; empty for a gateway with a spool of its own.

    The jobs that the gateway had when the spool was its own become those of the spool. HospitalError where the
    spool is another database's, or where such jobs need the bytes of another spool.
    """
    refuse(config)
    if not config.shared_spool:
        return ""
    identity = _identity(config, database)
    with database.session() as session:
        _check_known(config, session, identity)
        _check_own_jobs(config, session)
        session.execute(update(Job).where(Job.holder == config.name).values(holder=identity))
    return identity


def _identity(config: Config, database: Database) -> str:
    """What the spool's file says; the first gateway writes it, once the database knows it."""
    handle = os.open(config.spool / _FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX)  # of gateways that start at the same time, one writes
        found = _said(handle)
        if not found:
            found = f"@{os.urandom(12).hex()}"
            with database.session() as session:
                session.add(Setting(name=f"spool {found}", value="shared"))
            os.pwrite(handle, found.encode(), 0)
            os.fsync(handle)
        return found
    finally:
        os.close(handle)


def _read(spool: Path) -> str:
    """The identity that lies in a spool; empty where there is none, or a crash left half of one."""
    try:
        handle = os.open(spool / _FILE, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        return _said(handle)
    finally:
        os.close(handle)


def _said(handle: int) -> str:
    """The same of an open file: to open it again and close it would give up the lock on it."""
    content = os.pread(handle, 64, 0).decode("ascii", "replace")
    return content if _IDENTITY.fullmatch(content) else ""


def _check_known(config: Config, session: Session, identity: str) -> None:
    """Another database names none of the spool's files: its gateways would remove them all as left over."""
    if identity and session.get(Setting, f"spool {identity}") is None:
        raise HospitalError(
            f"spool: {config.spool} belongs to another database than HOSPITAL_DATABASE_URL names; give all who share "
            "it the same one"
        )


def _check_own_jobs(config: Config, session: Session) -> None:
    """Jobs from a spool of its own need its bytes: nobody would do them any more."""
    own = select(func.count()).where(Job.holder == config.name, Job.state.in_(_OPEN))
    count = session.scalar(own)
    if not count:
        return
    paths = session.scalars(
        select(Instance.path)
        .where(Instance.gateway == config.name, Instance.path != "")
        .order_by(Instance.id.desc())
        .limit(_LOOKED_AT)
    ).all()
    if not any((config.spool / path).exists() for path in paths):
        raise HospitalError(
            f"name: {count} jobs of gateway {config.name} need the spool that it had of its own; finish or drop them "
            "there first"
        )
