"""Holds a cap on connections to one PostgreSQL over processes that know nothing of each other.

A process has to connect to learn whether it may. So most of the cap are slots, advisory locks that a connection holds
for as long as it lives; the rest are doors, for those who are connected and wait for a slot. On one host a lock on a
file lets one connection stand at the door at a time, and everybody else waits without a connection.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from hydra_ray.store.types import StoreError

# Who gets no connection for so long is told so.
WAIT_S = 30.0
# One in so many connections is a door, so that many hosts may have somebody waiting at once. Two at least: a server
# frees the slot of a connection that ends a moment before it counts it as gone.
_A_DOOR_IN = 8
# Any number that other programs are not likely to lock.
_LOCKS = 0x68796472
# The slots of a host that is cut off come free after a minute and a half, and not after the two hours of most systems.
_KEEP_ALIVE = (
    "SELECT set_config('tcp_keepalives_idle', '60', false), set_config('tcp_keepalives_interval', '10', false), "
    "set_config('tcp_keepalives_count', '3', false)"
)
# Of connections that the server refuses, libpq tells the message alone.
_FULL = re.compile(r"too many (clients|connections)|remaining connection slots", re.IGNORECASE)


class Slots:
    """Slots of one database, taken by connections before they are used.

    Args:
        place: Text that tells databases apart, e.g. a URL without its password.
        most: Most connections of all processes together.
    """

    def __init__(self, place: str, most: int) -> None:
        self._most = most
        self.count = most - max(2, most // _A_DOOR_IN)
        digest = sha256(place.encode()).hexdigest()[:16]
        self._door = Path(tempfile.gettempdir()) / f"hydra-ray-{os.getuid()}-{digest}.door"

    def connect(self, dial: Callable[[], Any], on_wanted: Callable[[], None]) -> Any:
        """Return a connection that holds a slot, until it is closed.

        Args:
            dial: Opens a connection.
            on_wanted: Called, when the connection is used, once somebody waits for its slot.

        Raises:
            StoreError: No slot came free in time.
        """
        until = time.monotonic() + WAIT_S
        with self._at_the_door(until):
            connection = self._dialled(dial, until)
            try:
                slot = self._take(connection, until)
                _run(connection, _KEEP_ALIVE)
                _run(connection, f"LISTEN {_channel(slot)}")
                connection.add_notify_handler(lambda _: on_wanted())
            except BaseException:
                connection.close()
                raise
            return connection

    @contextmanager
    def _at_the_door(self, until: float) -> Iterator[None]:
        file = os.open(self._door, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._wait(until)
            yield
        finally:
            os.close(file)

    def _dialled(self, dial: Callable[[], Any], until: float) -> Any:
        while True:
            try:
                return dial()
            except Exception as error:
                # The server's own limits, or those of its role: others have connections there, too.
                if not _FULL.search(str(error)):
                    raise
                self._wait(until)

    def _take(self, connection: Any, until: float) -> int:
        query = "SELECT slot FROM generate_series(1, %s) slot WHERE pg_try_advisory_lock(%s, slot) LIMIT 1"
        while True:
            row = _run(connection, query, (self.count, _LOCKS))
            if row is not None:
                return int(row[0])
            # Whoever holds it gives it up after its transaction, or at once where it has none.
            _run(connection, "SELECT pg_notify(%s, '')", (_channel(random.randint(1, self.count)),))
            self._wait(until)

    def _wait(self, until: float) -> None:
        if time.monotonic() > until:
            raise StoreError(
                f"store.max_connections: none of the {self._most} connections came free for {WAIT_S:g} s; try again, "
                "or allow more"
            )
        time.sleep(random.uniform(0.005, 0.02))


def _channel(slot: int) -> str:
    return f"hydra_ray_slot_{slot}"


def _run(connection: Any, statement: str, values: tuple[object, ...] = ()) -> Any:
    """Run a statement in a transaction of its own; return its first row."""
    cursor = connection.cursor()
    try:
        cursor.execute(statement, values or None)
        row = cursor.fetchone() if cursor.description else None
    finally:
        cursor.close()
    connection.commit()
    return row
