"""The switch of personalisation: for one tenant, or for all of them at once."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from hydra_ray.store.audit import add_entry
from hydra_ray.store.database import Database
from hydra_ray.store.tables import PERSONALISATION

# Stands for all tenants; no tenant has it as a name.
ALL_TENANTS = ""


@dataclass(frozen=True, slots=True)
class SwitchState:
    """Where personalisation is off.

    Attributes:
        off: Names of tenants, `ALL_TENANTS` for all of them, with when each was switched off, in seconds since 1970.
    """

    off: dict[str, float]

    def is_on(self, tenant: str) -> bool:
        """Return whether users of a tenant are personalised: neither it nor all tenants are switched off."""
        return ALL_TENANTS not in self.off and tenant not in self.off


class Switches:
    """The switch in its table, where every replica looks.

    Args:
        database: Database with the tables of this version.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def state(self) -> SwitchState:
        """Return where personalisation is off now.

        Raises:
            StoreError: The database does not answer.
        """
        query = select(PERSONALISATION.c.tenant, PERSONALISATION.c.off_since)
        return SwitchState({row[0]: row[1] for row in self._database.read(lambda db: db.execute(query).all())})

    def turn(self, tenant: str, on: bool, actor: str) -> None:
        """Switches personalisation, and notes in the audit log who did.

        Switching a tenant on does not undo that all of them are off.

        Args:
            tenant: Tenant; `ALL_TENANTS` is all of them.
            on: Whether users are personalised.
            actor: Id of the API key by which it is done, or what `this_person` says.

        Raises:
            StoreError: The database does not answer.
        """
        with self._database.writing() as db:
            found = db.execute(select(PERSONALISATION.c.tenant).where(PERSONALISATION.c.tenant == tenant)).first()
            if on and found:
                db.execute(delete(PERSONALISATION).where(PERSONALISATION.c.tenant == tenant))
            elif not on and not found:
                db.execute(insert(PERSONALISATION).values(tenant=tenant, off_since=time.time()))
            add_entry(db, tenant, actor, f"personalisation.{'on' if on else 'off'}", tenant)

    def close(self) -> None:
        """Lets the database go."""
        self._database.close()
