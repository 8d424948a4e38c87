"""Servers of tests: in threads of this process, or on a port that nobody else has."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from socketserver import BaseServer
from typing import TypeVar

AnyServer = TypeVar("AnyServer", bound=BaseServer)


@contextlib.contextmanager
def running(server: AnyServer) -> Iterator[AnyServer]:
    """Serves for as long as the body runs."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def free_port() -> int:
    """A port of this machine that is free now, for servers that must be told theirs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]
