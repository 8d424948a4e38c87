"""Brings a database to the tables that this version works with."""

from __future__ import annotations

import logging
import re
from importlib.resources import files

from sqlalchemy import Column, Connection, MetaData, String, Table, func, insert, inspect, select

from hydra_ray.records import HydraError
from hydra_ray.store.connections.former import placed
from hydra_ray.store.connections.retry import again_where_lost
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.database import Database
from hydra_ray.store.tables import METADATA

log = logging.getLogger(__name__)

# Alembic's own table; not among ours, which a comparison with the database must not find it in.
ALEMBIC_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32), primary_key=True))

_FILE = re.compile(r"v(\d{4})_\w+\.py")
# Of 0.1.0, whose databases say nothing of their version.
_BASELINE_HEADS = {"tenant", "user", "version", "role", "mark", "stamp", "head"}
# Any number that other programs are not likely to lock.
_ADVISORY_LOCK = 0x68796472615F7261


def revisions() -> list[str]:
    """All revisions of the tables, oldest first, by the names of their files: reading them would take Alembic."""
    names = (path.name for path in (files("hydra_ray.store.migrations") / "versions").iterdir())
    return sorted(found[1] for name in names if (found := _FILE.fullmatch(name)))


def open_database(target: str | StoreTarget) -> Database:
    """Open a database with the tables of this version, which are made or brought up to date.

    Args:
        target: SQLAlchemy URL, or `Settings.store_target`.

    Raises:
        HydraError: It cannot be opened, or a newer version of hydra-ray made it.
    """
    database = Database(placed(StoreTarget.of(target)))
    try:
        again_where_lost(lambda: bring_up_to_date(database))
    except BaseException:
        database.close()
        raise
    return database


def bring_up_to_date(database: Database) -> None:
    """Creates the tables of a new database, and those that a database of an older version lacks.

    Any number of processes may do so at once: one does it, the others wait.

    Raises:
        HydraError: The database is of a newer version, of one before 0.1.0, or read-only and too old.
    """
    head = revisions()[-1]
    with database.reading("opened") as connection:
        if _found(connection, database) == head:
            return
    if database.is_read_only:
        raise HydraError(f"store.url: {database.shown} is read-only and older than this version: open it once writable")
    with database.writing("opened") as connection:
        if database.dialect == "postgresql":
            # Until the transaction ends. In SQLite the write lock is as good.
            connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        found = _found(connection, database)
        if found == head:
            return
        if found is None and not inspect(connection).has_table("heads"):
            METADATA.create_all(connection)
            ALEMBIC_VERSION.create(connection)
            connection.execute(insert(ALEMBIC_VERSION).values(version_num=head))
            return
        _upgrade(connection)
        log.info("%s was brought from revision %s to %s", database.shown, found or "none", head)


def _found(connection: Connection, database: Database) -> str | None:
    """Return the database's revision; None for a new one and for one of 0.1.0."""
    tables = inspect(connection)
    if tables.has_table(ALEMBIC_VERSION.name):
        found = connection.execute(select(ALEMBIC_VERSION.c.version_num)).scalar()
        if found is not None and found not in revisions():
            raise HydraError(
                f"store.url: {database.shown} was made by a newer version of hydra-ray (revision {found}, this one "
                f"knows {revisions()[-1]}): update hydra-ray, or use another store"
            )
        if found is not None:
            return str(found)
    if tables.has_table("heads") and {column["name"] for column in tables.get_columns("heads")} != _BASELINE_HEADS:
        raise HydraError(f"store.url: {database.shown} was made by another version of hydra-ray; fit into a new store")
    return None


def _upgrade(connection: Connection) -> None:
    # Imported here, since it takes as long as opening a store does.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "hydra_ray.store:migrations")
    command.upgrade(config, "head")
