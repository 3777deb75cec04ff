"""What is asked of an image file before a network looks at it, by the service and by whatever fills a data set."""

from serving import guard
from serving.imaging import decode, model_input
from serving.imaging.canvas import Pixels
from serving.imaging.decode import Decoded, Header
from serving.scope import Scope

_ENOUGH = 640
"""Pixels that the longer side of a JPEG keeps, at least, where nothing but its contrast is of interest."""


def check_header(
    content: bytes, scope: Scope, *, max_pixels: int, max_frames: int, warn_of_scope: bool = False
) -> tuple[Header, str]:
    """A file's header, and the reason for which it is out of scope, empty unless `warn_of_scope`.

    `scope` is what the model is meant for. Raises ImageError as `decode.inspect` and `Scope.check` do, and
    `too_small`, `too_many_frames` or `colour_photograph`.
    """
    header = decode.inspect(content, max_pixels)
    out_of_scope = scope.check(header, warn_of_scope)
    guard.check_header(header, max_frames)
    guard.check_colours(content, header)
    return header, out_of_scope


def check_picture(decoded: Decoded, picture: Pixels) -> None:
    """Refuse a decoded file of which too much is missing, or whose `picture`, grey uint8 (h, w), shows nothing.

    Raises ImageError `undecodable` or `blank`.
    """
    decode.check_complete(decoded)
    guard.check_contrast(picture)


def check_file(content: bytes, scope: Scope, *, max_pixels: int, max_frames: int, warn_of_scope: bool = False) -> None:
    """Raise the ImageError with which the service refuses a file, if it does so before its network looks."""
    header, _ = check_header(content, scope, max_pixels=max_pixels, max_frames=max_frames, warn_of_scope=warn_of_scope)
    decoded = decode.decode(content, _ENOUGH, max_pixels, header)
    check_picture(decoded, model_input.picture_of(decoded))
