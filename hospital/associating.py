"""Associations that this side asks for, whose requests cannot lose their answers.

pynetdicom (3.0.4) pauses an association's reactor before it sends a request: it clears an event, and then waits for a
flag. The reactor leaves the flag up for a moment after it has passed the event. If it loses the processor just there,
the request goes out, the reactor goes on, takes the answer off the queue as "unexpected", and the request waits for its
time-out: on a busy machine an association ends without an answer to what was stored.
"""

import threading
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom.association import Association


class Checkpoint:
    """Takes the place of the event that the reactor waits for, and knows whether it really stands there."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = True
        self.is_held = False
        """Whether the reactor stands here, and will until `set`."""

    def set(self) -> None:
        """Let the reactor go on."""
        with self._changed:
            self._open, self.is_held = True, False
            self._changed.notify_all()

    def clear(self) -> None:
        """Hold the reactor up when it comes by."""
        with self._changed:
            self._open = False

    def wait(self) -> None:
        """Pass, or stand until `set`; called by the reactor alone."""
        with self._changed:
            while not self._open:
                self.is_held = True
                self._changed.wait()


class _Association(Association):
    """An association whose requests go out once its reactor stands.

    `_is_paused` is what pynetdicom asks before each request. It also writes it, from the thread of a report on
    commitment too: a report that ends in the wrong moment would let a release wait for ever.
    """

    @property
    def _is_paused(self) -> bool:
        return cast(Checkpoint, self._reactor_checkpoint).is_held or self._kill or not self.is_alive()

    @_is_paused.setter
    def _is_paused(self, value: bool) -> None:
        pass


def associate(entity: AE, host: str, port: int, **options: Any) -> Association:
    """`entity.associate` with the same options."""
    handlers = [*options.pop("evt_handlers", []), (evt.EVT_ESTABLISHED, _on_established)]
    return entity.associate(host, port, evt_handlers=handlers, **options)


def _on_established(event: evt.Event) -> None:
    """Change the association over before its reactor starts."""
    association: Any = event.assoc
    association._reactor_checkpoint = Checkpoint()
    association.__class__ = _Association
