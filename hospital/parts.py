"""What the workers of a gateway share."""

from dataclasses import dataclass

from hospital.database import Database
from hospital.metrics import Metrics
from hospital.queue import Queue
from hospital.spool import Spool


@dataclass(frozen=True)
class Parts:
    """Memory, jobs, files and counters."""

    database: Database
    queue: Queue
    spool: Spool
    metrics: Metrics
