"""Faults of the gateway, each with a line for a person that names no patient."""


class HospitalError(Exception):
    """Something the operator gave or has to mend; the message is one line: which key or file, and what to do."""


class DeadLetterError(Exception):
    """A job that no repetition will mend; `code` is stable, the message says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class TryAgainError(Exception):
    """A job that may succeed later; `code` is stable, the message says what is in the way."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
