"""The users' database: its connections, and transactions that are short and wait for each other."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnectionError

from hydra_ray.records import HydraError
from hydra_ray.store.connections.retry import again_where_lost, passes
from hydra_ray.store.connections.server import release_engine, share_engine
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.types import LostError, StoreError

log = logging.getLogger(__name__)

# A writer waits this long for the one before it. Transactions take a fraction of a second; one user's 50,000 items
# take two.
BUSY_S = 30.0
# A writer that waits looks so often for the lock: a bulk write must pause longer.
POLL_S = 0.005
_WRITES = "hydra_ray_writes"

Result = TypeVar("Result")


class Database:
    """Connections to SQLite, PostgreSQL or another database that SQLAlchemy speaks to.

    SQLite is put into WAL mode: readers and the one writer do not wait for each other. A transaction that writes takes
    the write lock when it begins: one that read first would be refused, however long it waited, once somebody else had
    written.

    All who open the same server's database in one process share its connections.

    Args:
        target: SQLAlchemy URL, or a target that says more.

    Attributes:
        shown: The URL without its password.

    Raises:
        HydraError: The URL is none, or the database cannot be opened.
    """

    def __init__(self, target: str | StoreTarget) -> None:
        self._target, self._is_open = StoreTarget.of(target), True
        try:
            parsed = make_url(self._target.url)
            self.shown = parsed.render_as_string(hide_password=True)
        except (SQLAlchemyError, ValueError):
            # Not quoted: what is no URL may still hold a password.
            raise HydraError("store.url: write it as an SQLAlchemy URL, e.g. sqlite:///users.db") from None
        self.is_read_only = False
        try:
            self._engine = self._connected(parsed)
        except (SQLAlchemyError, sqlite3.Error, ImportError) as error:
            reason = getattr(error, "orig", None) or error
            raise HydraError(f"store.url: {self.shown} cannot be opened: {reason}") from error
        self._reader: Engine = self._engine
        self._writer = self._engine.execution_options(**{_WRITES: True})
        if self._engine.dialect.name == "postgresql":
            # Several statements of one reader see one state, as they do in SQLite; writers see what those before left.
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ")
            self._writer = self._writer.execution_options(isolation_level="READ COMMITTED")

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name for the kind of database."""
        return self._engine.dialect.name

    @contextmanager
    def reading(self, done: str = "read") -> Iterator[Connection]:
        """Open a transaction that sees one state of the database and changes nothing.

        Args:
            done: Word for the message where this fails: what could not be done.

        Raises:
            StoreError: The database does not answer.
        """
        with self._in_one_line(done), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, done: str = "written") -> Iterator[Connection]:
        """Open a transaction that writes; what is raised inside undoes it.

        Args:
            done: Word for the message where this fails: what could not be done.

        Raises:
            StoreError: The database does not answer, or another writer does not end.
            HydraError: The database is read-only.
        """
        if self.is_read_only:
            raise HydraError(f"store.url: {self.shown} is read-only: nothing can be written there")
        with self._in_one_line(done), self._writer.begin() as connection:
            yield connection

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run a function in a transaction of `reading`, and again where the connection was lost.

        Args:
            work: Reads. It may be run several times.

        Returns:
            What it returns.

        Raises:
            StoreError: The database does not answer.
        """

        def once() -> Result:
            with self.reading() as connection:
                return work(connection)

        return again_where_lost(once)

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run a function in a transaction of `writing`, and again where it was cut off or in another's way.

        Args:
            work: Writes. It may be run several times, at worst once more after it was written: what it does must then
                come to the same.

        Returns:
            What it returns.

        Raises:
            StoreError: The database does not answer, or another writer does not end.
            HydraError: The database is read-only.
        """

        def once() -> Result:
            with self.writing() as connection:
                return work(connection)

        return again_where_lost(once)

    def empty_wal(self, within_s: float) -> bool:
        """Writes SQLite's write-ahead log into the database and empties it; tells whether that was possible.

        Until then the log holds pages as they were before something was deleted. Other databases have none of ours.

        Args:
            within_s: Seconds in which readers who still need the log are waited for.
        """
        if self.dialect != "sqlite" or self.is_read_only:
            return True
        with self._engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute(f"PRAGMA busy_timeout = {1000 * within_s:.0f}")
            try:
                (busy, *_) = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                driver.execute(f"PRAGMA busy_timeout = {1000 * BUSY_S:.0f}")
        return not busy

    def compact(self) -> None:
        """Writes a SQLite database anew, without the pages that deletions of before `secure_delete` left.

        PostgreSQL is asked for `VACUUM`, after which rows that were deleted are read by nobody.

        Raises:
            StoreError: Others write or read for too long.
        """
        if self.is_read_only:
            return
        with self._in_one_line("compacted"):
            if self.dialect == "sqlite":
                with self._engine.connect() as connection:
                    driver: Any = connection.connection.driver_connection
                    driver.execute("VACUUM")
            elif self.dialect == "postgresql":
                with self._engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                    connection.exec_driver_sql("VACUUM")

    def close(self) -> None:
        """Lets all connections go that nobody else in this process uses."""
        if self._is_open and self._is_shared:
            release_engine(self._target)
        elif self._is_open:
            self._engine.dispose()
        self._is_open = False

    @contextmanager
    def _in_one_line(self, done: str) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, InterfaceError, NoConnectionError) as error:
            if not (_is_outage(error) or passes(error)):
                raise
            reason = str(getattr(error, "orig", error))
            if _is_busy(error):
                reason = f"another process has been writing for {BUSY_S:g} s; try again"
            kind = LostError if passes(error) else StoreError
            raise kind(f"store.url: {self.shown} cannot be {done}: {' '.join(reason.split())}") from error

    def _connected(self, url: URL) -> Engine:
        self._is_shared = url.get_backend_name() != "sqlite"
        if self._is_shared:
            return share_engine(url, self._target)
        arguments: dict[str, Any] = {"connect_args": {"timeout": BUSY_S, "check_same_thread": False}}
        if url.database in (None, "", ":memory:"):
            # One connection for all threads: another one would be another database.
            engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, **arguments)
        elif self._stands_in_a_read_only_place(url):
            log.warning("%s stands in a read-only place: nobody may write it while it is open here", self.shown)
            self.is_read_only = True
            path = quote(os.path.abspath(str(url.database)))
            fixed = url.set(database=f"file:{path}", query={"immutable": "1", "mode": "ro", "uri": "true"})
            engine = create_engine(fixed, **arguments)
        else:
            engine = create_engine(url, **arguments)
        event.listen(engine, "connect", _leave_transactions_to_us)
        event.listen(engine, "begin", _begin)
        if not self.is_read_only:
            self._use_wal(engine)
        return engine

    def _stands_in_a_read_only_place(self, url: URL) -> bool:
        path = Path(str(url.database))
        if not path.is_file() or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
            return False
        wal = path.with_name(f"{path.name}-wal")
        if wal.exists() and wal.stat().st_size:
            raise HydraError(
                f"store.url: {self.shown} stands in a read-only place, and its last writer did not close it: open it "
                "once where it may be written"
            )
        return True

    def _use_wal(self, engine: Engine) -> None:
        connection = engine.raw_connection()
        try:
            mode = _journal_mode(connection, "PRAGMA journal_mode")
            if mode not in ("wal", "memory"):
                mode = _journal_mode(connection, "PRAGMA journal_mode = WAL")
            if mode not in ("wal", "memory"):
                log.warning("%s stays in journal mode %s: readers and writers wait for each other", self.shown, mode)
        finally:
            connection.close()


def _journal_mode(connection: Any, statement: str) -> str:
    # The change of mode does not wait for others by itself.
    until = time.monotonic() + BUSY_S
    while True:
        try:
            cursor = connection.cursor()
            try:
                return str(cursor.execute(statement).fetchone()[0])
            finally:
                cursor.close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _leave_transactions_to_us(connection: Any, _: object) -> None:
    # Python's driver would begin transactions late, and only those that write.
    connection.isolation_level = None
    # What is deleted is overwritten with zeros, not only given free.
    connection.execute("PRAGMA secure_delete = ON")


def _begin(connection: Connection) -> None:
    if not connection.get_execution_options().get(_WRITES):
        connection.exec_driver_sql("BEGIN")
        return
    # SQLite would look for the lock less and less often, and miss the pauses of a bulk write.
    until = time.monotonic() + BUSY_S
    connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except OperationalError as error:
                if not _is_busy(error) or time.monotonic() > until:
                    raise
            time.sleep(random.uniform(0.001, POLL_S))
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {1000 * BUSY_S:.0f}")


def _is_outage(error: SQLAlchemyError) -> bool:
    """Whether the database is at fault: wrong statements are ours to mend."""
    name = _sqlite_name(error)
    if name in ("SQLITE_CORRUPT", "SQLITE_NOTADB"):
        return True
    return name != "SQLITE_ERROR" and isinstance(error, OperationalError | InterfaceError | NoConnectionError)


def _is_busy(error: SQLAlchemyError) -> bool:
    return _sqlite_name(error).startswith("SQLITE_BUSY")


def _sqlite_name(error: SQLAlchemyError) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlite_errorname", ""))
