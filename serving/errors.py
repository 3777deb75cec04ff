"""Faults of what a caller or an operator gave, each with a line for a person."""


class ImageError(Exception):
    """An image that cannot be used; `code` is stable, the message is one line for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BundleError(Exception):
    """A bundle that cannot be used; the message is one line: which file, what is wrong, what to do."""


class SettingsError(Exception):
    """A variable of the environment with an unusable value; the message names it."""


def one_line(error: BaseException | str, limit: int = 300) -> str:
    """What an error or a library's text says, in one line of at most `limit` characters; never empty for an error."""
    text = " ".join(str(error).split())[:limit]
    return text or (type(error).__name__ if isinstance(error, BaseException) else "")
