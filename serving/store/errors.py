"""What the store says is wrong; importing this needs no extra."""


class StoreError(Exception):
    """A store that cannot be used; the message is one line and holds no password."""
