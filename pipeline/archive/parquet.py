"""Parquet files that lie on a disk or in a bucket for days: what is broken in one is a line that names it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from pipeline.errors import InputError
from serving.errors import one_line

UNREADABLE = (OSError, ValueError, pa.ArrowException)
"""What reading a Parquet file raises where it is missing, or broken in its footer or in any column."""


@contextmanager
def parquet_errors(shown: object, advice: str) -> Iterator[None]:
    """Turn what pyarrow says of broken content into InputError: `shown`, the reason and `advice`.

    A file that is missing or may not be read keeps its own error, which names the file.
    """
    try:
        yield
    except UNREADABLE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise InputError(f"{shown}: is broken ({one_line(error, 80)}); {advice}") from None
