"""Connections to a database server: one pool for all who open the same store in a process."""

from __future__ import annotations

import os
import select
import threading
import time
import weakref
from dataclasses import dataclass
from queue import Empty
from typing import Any

from sqlalchemy import URL, Engine, QueuePool, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from hydra_ray.store.connections.slots import WAIT_S, Slots
from hydra_ray.store.connections.target import StoreTarget

# Most connections of one process: its threads compute most of the time.
_OF_A_PROCESS = 8
# A connection that nobody used for so long goes, and one whose slot is wanted is found so soon.
_IDLE_S, _LOOK_S = 60.0, 0.2
_DIAL_S = 10


class GivingPool(QueuePool):
    """A pool that gives up connections whose slot another process waits for, and those that nobody used for long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ended, self._is_looked_after, self._beginning = threading.Event(), False, threading.Lock()
        event.listen(self, "checkin", _give_up_what_is_wanted)

    def _do_get(self) -> ConnectionPoolEntry:
        with self._beginning:
            if not self._is_looked_after:
                threading.Thread(target=_look_after, args=(weakref.ref(self), self._ended), daemon=True).start()
                self._is_looked_after = True
        return super()._do_get()

    def dispose(self) -> None:
        """Close all connections that are not in use, and look after no more."""
        self._ended.set()
        super().dispose()

    def give_up_idle(self) -> None:
        """Close the connections not in use of which the server has something to say, or that nobody used for long."""
        kept = list[ConnectionPoolEntry]()
        for _ in range(self.checkedin()):
            try:
                kept.append(self._pool.get(False))
            except Empty:
                break
        # The one used last was first, and shall be so again.
        for record in reversed(kept):
            # What is said to an idle connection is that its slot is wanted, or that it ends.
            if record.dbapi_connection is not None and (_is_told(record.dbapi_connection) or _is_old(record)):
                record.invalidate()
            self._pool.put(record, False)


def server_engine(url: URL, target: StoreTarget) -> Engine:
    """Return an engine whose connections get their password when they are opened, and keep to the cap.

    Args:
        url: URL of the target, as SQLAlchemy reads it.
        target: Store to open.
    """
    is_capped = target.max_connections is not None and url.get_dialect().driver == "psycopg"
    most = target.max_connections or 4 * _OF_A_PROCESS
    pool: dict[str, Any] = {
        "poolclass": GivingPool if is_capped else QueuePool,
        # Two at least: what reads one store while it writes another needs both.
        "pool_size": min(_OF_A_PROCESS, max(2, most // 4)),
        "max_overflow": 0,
        "pool_timeout": WAIT_S,
        "pool_pre_ping": True,
        "pool_use_lifo": True,
    }
    engine = create_engine(url, **pool)
    slots = Slots(url.render_as_string(hide_password=True), most) if is_capped else None

    def connect(dialect: Any, record: ConnectionPoolEntry, args: list[Any], options: dict[str, Any]) -> Any:
        password = target.password()
        if url.get_backend_name() == "postgresql":
            options = {"connect_timeout": _DIAL_S, **options}
        full = options if password is None else {**options, "password": password}
        if slots is None:
            return dialect.connect(*args, **full)
        return slots.connect(lambda: dialect.connect(*args, **full), lambda: record.info.update(wanted=True))

    event.listen(engine, "do_connect", connect)
    return engine


@dataclass(slots=True)
class _Shared:
    engine: Engine
    openers: int


_SHARED: dict[tuple[int, StoreTarget], _Shared] = {}
_LOCK = threading.Lock()


def share_engine(url: URL, target: StoreTarget) -> Engine:
    """Return the process's one engine for a target; each opener gives it back by `release_engine`."""
    with _LOCK:
        # A forked process must not use its parent's connections.
        key = os.getpid(), target
        if key not in _SHARED:
            _SHARED[key] = _Shared(server_engine(url, target), 0)
        shared = _SHARED[key]
        shared.openers += 1
        return shared.engine


def release_engine(target: StoreTarget) -> None:
    """Gives an engine back; the last opener closes its connections."""
    with _LOCK:
        shared = _SHARED.get((os.getpid(), target))
        if shared is None:
            return
        shared.openers -= 1
        if shared.openers == 0:
            del _SHARED[os.getpid(), target]
            shared.engine.dispose()


def _give_up_what_is_wanted(connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["since"] = time.monotonic()
    if record.info.get("wanted"):
        # The empty record stays in the pool: who waits for it in this process connects anew, and takes turns.
        record.invalidate()


def _look_after(pool: weakref.ref[GivingPool], ended: threading.Event) -> None:
    while not ended.wait(_LOOK_S):
        one = pool()
        if one is None:
            return
        one.give_up_idle()
        del one


def _is_told(connection: Any) -> bool:
    return bool(select.select([connection.fileno()], [], [], 0)[0])


def _is_old(record: ConnectionPoolEntry) -> bool:
    return time.monotonic() - record.info.get("since", time.monotonic()) > _IDLE_S
