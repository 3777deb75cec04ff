"""Connections that come together are shared by the workers."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_WORKER = """
import asyncio, os, socket, sys
from serving.accepting import share_connections

if sys.argv[2] == "shared":
    share_connections()

async def main():
    async def answer(reader, writer):
        await reader.readline()
        writer.write(f"{os.getpid()}\\n".encode())
        await writer.drain()
    server = await asyncio.start_server(answer, sock=socket.socket(fileno=int(sys.argv[1])), backlog=2048)
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def _largest_share(how: str, connections: int = 32) -> float:
    """The share of connections, opened together, that the busier one of two workers got."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listening.setblocking(False)
    port, number = listening.getsockname()[1], listening.fileno()
    command = [sys.executable, "-c", _WORKER, str(number), how]
    workers = [
        subprocess.Popen(command, cwd=ROOT, pass_fds=[number], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        # Stopped, so that all connections wait when the workers look.
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)
        clients = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(connections)]
        for worker in workers:
            worker.send_signal(signal.SIGCONT)
        for client in clients:
            client.sendall(b"who\n")
        answers = [client.makefile().readline() for client in clients]
        for client in clients:
            client.close()
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        listening.close()
    return max(answers.count(answer) for answer in set(answers)) / connections


@pytest.mark.timeout(120)
def test_connections_that_come_together_are_shared() -> None:
    shares = sorted(_largest_share("shared") for _ in range(5))
    assert shares[2] < 0.9, shares
