"""Keeps native libraries from chattering on stderr while they are loaded."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


@contextmanager
def quiet_import() -> Iterator[None]:
    """Hide what C++ code prints on stderr while the block imports it; shown after all when the import fails.

    TensorFlow logs its instruction sets and missing GPUs before any switch of its own can stop it. Its log level for
    the rest of the process is what TF_CPP_MIN_LOG_LEVEL says while it is imported: 3 here, unless the person set one.
    """
    sys.stderr.flush()
    asked = os.environ.get(_LOG_LEVEL)
    os.environ.setdefault(_LOG_LEVEL, "3")
    kept = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(kept, hidden.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            if asked is None:
                os.environ.pop(_LOG_LEVEL, None)
