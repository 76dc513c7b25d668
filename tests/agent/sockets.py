"""Ports on which nothing useful answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

READ_REQUEST_BYTES = 12


def closed_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class SilentPort:
    """Takes connections and whatever is sent, and never answers."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.port = int(listener.getsockname()[1])

    def requests(self) -> int:
        """How many Modbus reads the first connection carried; it must have been closed."""
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(5)
            received = b""
            while chunk := connection.recv(1024):
                received += chunk
        return len(received) // READ_REQUEST_BYTES


@contextmanager
def silent_port() -> Iterator[SilentPort]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield SilentPort(listener)
