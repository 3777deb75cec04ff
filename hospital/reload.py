"""hospital.toml read again while the gateway runs: taken as a whole, or refused as a whole with one line."""

import errno
import fcntl
import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hospital import certificates, logs
from hospital import config as configuration
from hospital.config import Config, Secrets
from hospital.errors import HospitalError
from hospital.metrics import Metrics
from serving.errors import one_line

_NAME = "gateway.process"
_TAKEN = (errno.EACCES, errno.EAGAIN)
"""What a lock says that another process has (fcntl(2))."""
_ANSWER_SECONDS = 30.0
_READS = 20
_FIXED = (
    "spool",
    "shared_spool",
    "name",
    "model",
    "receiver.host",
    "receiver.port",
    "operation.host",
    "operation.port",
    "audit",
    "worklist",
    "adt",
    "store",
)
"""What only a restart changes."""


def fixed_facts(config: Config) -> dict[str, str]:
    """Digests of what only a restart changes, by its key."""
    found = {}
    for key in _FIXED:
        value: object = config
        for part in key.split("."):
            value = getattr(value, part)
        found[key] = hashlib.sha256(repr(value).encode()).hexdigest()
    return found


def restarts(before: Mapping[str, str], after: Config) -> str:
    """Says which keys have changed that only a restart changes, all in one line; empty where none has."""
    keys = [key for key, digest in fixed_facts(after).items() if before.get(key) != digest]
    return f"{', '.join(keys)}: {'changes' if len(keys) == 1 else 'change'} with a restart only" if keys else ""


def check_change(before: Config, after: Config) -> None:
    """HospitalError where something has changed that only a restart changes."""
    told = restarts(fixed_facts(before), after)
    if told:
        raise HospitalError(f"{told}; nothing was changed")


def foretell(config: Config) -> str:
    """What a reload would do with a configuration, if a gateway runs in its spool; empty where none does."""
    path = _running_place(config)
    found = _content(path) if _is_locked(path) else {}
    before = found.get("fixed")
    if not isinstance(before, dict):
        return ""
    return restarts(before, config) or "`fracture hospital reload` takes this file over"


def reload(path: Path, adopt: Callable[[Config, Secrets], list[str]], metrics: Metrics) -> str:
    """Read the file again and hand it to `adopt`, which names what changed; the reason where it is refused, or empty.

    A refusal leaves everything as it was.
    """
    try:
        config = configuration.read(path)
        changed = adopt(config, Secrets.read(config))
    except HospitalError as error:
        reason = str(error)
    except OSError as error:  # a file that went between its check and its use
        reason = f"{path}: {one_line(error, 120)}"
    else:
        metrics.reloads.labels("done").inc()
        logs.event("reloaded", changed=", ".join(changed))
        certificates.warn(config)
        return ""
    metrics.reloads.labels("refused").inc()
    logs.event("reload_refused", reason=reason)
    return reason


class ProcessFile:
    """Says in the spool which process runs there, and what became of its last reload; locked as long as it runs."""

    def __init__(self, config: Config) -> None:
        """Take the lock; HospitalError where another process has it."""
        spool = config.spool
        self._fixed = fixed_facts(config)
        self._reloads = 0
        self._held: list[int] = []
        in_use = f"spool: {spool} is in use by another gateway"
        if config.shared_spool:
            # Beside others that share it, and beside none that does not.
            alone = self._lock(
                spool / _NAME, fcntl.LOCK_SH, f"{in_use} that does not share it; stop it, or name another"
            )
            os.ftruncate(alone, 0)  # of one that was killed when the spool was its own
            in_use = f"name: another gateway {config.name} uses {spool}; stop it, or name this one otherwise"
        else:
            in_use += "; stop it, or name another"
        self._file = self._lock(_place(config), fcntl.LOCK_EX, in_use)

    def _lock(self, path: Path, kind: int, refused: str) -> int:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._held.append(handle)
        try:
            fcntl.lockf(handle, kind | fcntl.LOCK_NB)
        except OSError as error:
            for held in self._held:
                os.close(held)
            if error.errno not in _TAKEN:
                raise HospitalError(f"spool: {path} cannot be locked ({error.strerror})") from None
            raise HospitalError(refused) from None
        os.fchmod(handle, 0o600)
        return handle

    def announce(self) -> None:
        """Say that this process runs there; OSError on a full disk."""
        self._write("")

    def reloaded(self, refused: str) -> None:
        """Note a reload and why it was refused, for the command that waits for it."""
        self._reloads += 1
        try:
            self._write(refused)
        except OSError:  # the command says then that the log knows more
            logs.trouble("reload_not_noted")

    def close(self) -> None:
        """Let another process run there."""
        os.ftruncate(self._file, 0)
        for held in self._held:
            os.close(held)

    def _write(self, refused: str) -> None:
        facts = {
            "process": os.getpid(),
            "machine": socket.gethostname(),
            "reloads": self._reloads,
            "refused": refused,
            "fixed": self._fixed,
        }
        content = json.dumps(facts).encode()
        # Over what is there: a full disk gives back nothing that was cut off.
        if os.pwrite(self._file, content, 0) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(self._file, len(content))


def ask(config: Config) -> None:
    """Let the running gateway read its configuration again, and wait; HospitalError where it refuses or is away."""
    path = _running_place(config)
    before = _running(path)
    machine = before.get("machine")
    if config.shared_spool and machine != socket.gethostname():  # the number would be another process's here
        raise HospitalError(f"gateway {config.name} runs on {machine}; reload it there")
    try:
        os.kill(int(before["process"]), signal.SIGHUP)
    except OSError as error:
        raise HospitalError(f"process {before['process']} cannot be told ({error.strerror})") from None
    deadline = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.1)
        found = _content(path)
        if found and found["process"] == before["process"] and found["reloads"] != before["reloads"]:
            if found["refused"]:
                raise HospitalError(str(found["refused"]))
            return
    raise HospitalError("the gateway was told, but has not answered yet; its log says what became of it")


def _place(config: Config) -> Path:
    """The file of a gateway's process; gateways that share a spool have one each."""
    return config.spool / (f"gateway-{config.name}.process" if config.shared_spool else _NAME)


def _running_place(config: Config) -> Path:
    """The same; that of a gateway which runs, where only `shared_spool` has changed since it started."""
    other = config.model_copy(update={"shared_spool": not config.shared_spool})
    return next((path for path in map(_place, (config, other)) if _is_locked(path)), _place(config))


def _running(path: Path) -> dict[str, Any]:
    """What a gateway says of itself; HospitalError where none holds the lock."""
    for _ in range(_READS):
        if not _is_locked(path):
            break
        found = _content(path)
        if found:
            return found
        time.sleep(0.05)
    raise HospitalError(f"no gateway runs in {path.parent}; start it with `fracture hospital run`")


def _is_locked(path: Path) -> bool:
    try:
        with path.open("r+", encoding="utf-8") as file:
            fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        raise HospitalError(f"spool: {path.parent} is no folder; name another") from None
    except OSError as error:
        raise HospitalError(f"{path}: {error.strerror}; ask as the gateway's user") from None
    return False


def _content(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it is being written
        return {}
    return found if isinstance(found, dict) else {}
