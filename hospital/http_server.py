"""A server of uvicorn's in a thread, for the ports that answer over HTTP."""

import threading

import uvicorn
from starlette.requests import Request

from hospital.errors import HospitalError

_MOST_DIGITS = 7


class ThreadedServer:
    """Serves until it is closed; `name` is that of its thread and of its table in the configuration."""

    def __init__(self, options: uvicorn.Config, name: str) -> None:
        self._name, self._place = name, f"{options.host}:{options.port}"
        self._server = uvicorn.Server(options)
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def start(self) -> None:
        """Begin to answer; HospitalError where the address is taken."""
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            self._thread.join(0.05)
        if not self._server.started:
            raise HospitalError(f"{self._name}.port: {self._place} cannot be listened on; is it in use?")

    def close(self) -> None:
        """Answer no further request."""
        self._server.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(10)

    def _serve(self) -> None:
        try:
            self._server.run()
        except SystemExit:  # how uvicorn says that the address is taken
            return


def asked_page(request: Request) -> int:
    """The page of a list that a request asks for with `?page=`; the first one where it names none."""
    text = request.query_params.get("page", "1")
    return int(text) if text.isascii() and text.isdigit() and len(text) < _MOST_DIGITS else 1
