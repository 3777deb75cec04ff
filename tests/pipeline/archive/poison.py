"""A child process whose decoder does what a faulty decoder may do, told by the first word of the file it is given."""

import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

from pipeline.archive import child
from pipeline.archive.child import ObservedPredictor, Scoring
from serving.predictor import PreparedImage


class _Poisoned(ObservedPredictor):
    def _decode(self, content: bytes) -> PreparedImage:
        word, _, rest = content[:200].partition(b" ")
        if word == b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if word == b"kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == b"hang":
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            time.sleep(10_000)
        if word == b"eat":
            held = []
            while True:
                held.append(b"x" * (32 << 20))
        if word == b"once" and not (mark := Path(rest.decode())).exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return super()._decode(content)


def run(connection: Connection, asked: Scoring) -> None:
    """As `child.run`."""
    child.ObservedPredictor = _Poisoned  # type: ignore[misc]
    child.run(connection, asked)


def end_at_once(connection: Connection, asked: Scoring) -> None:
    """A child that never begins."""
