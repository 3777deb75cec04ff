"""Faults of an input, each with a stable code."""


class ImageError(Exception):
    """An image that cannot be used; `code` is stable, the message is one line for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
