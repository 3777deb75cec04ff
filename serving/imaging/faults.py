"""What parsers and decoders raise for broken bytes, which may be anything, as one kind of error."""

from collections.abc import Iterator
from contextlib import contextmanager

from serving.errors import ImageError, one_line


@contextmanager
def faults(problem: str, *, quotes: bool = True) -> Iterator[None]:
    """Turn any exception into an ImageError `undecodable` whose message starts with `problem`; ImageErrors pass.

    Without `quotes` it ends there: what a library says of a DICOM object may repeat a value, and so name a patient.
    """
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001  parsers and decoders raise whatever broken bytes lead them to
        detail = one_line(str(error).split("available plugins:")[-1], 120) or type(error).__name__
        raise ImageError("undecodable", f"{problem} ({detail})" if quotes else problem) from None
