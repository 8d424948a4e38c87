"""How much was known of each user at a moment: what an online experiment cannot have changed."""

from __future__ import annotations

from sqlalchemy import func, or_, select

from hydra_ray.records import UserKey
from hydra_ray.store.database import Database
from hydra_ray.store.tables import HISTORY


def history_amounts(database: Database, tenant: str, before_s: float) -> dict[UserKey, int]:
    """Return the number of history items that each user had at a moment; who had none is left out.

    Items that were deleted since are not counted.

    Args:
        database: Database with the tables of this version.
        tenant: Tenant.
        before_s: The moment, in seconds since 1970.

    Raises:
        StoreError: The database does not answer.
    """
    c = HISTORY.c
    # Nobody knows when items of earlier versions were written: long ago.
    written = or_(c.stored_at.is_(None), c.stored_at < before_s)
    query = select(c.user, func.count()).where(c.tenant == tenant, written).group_by(c.user)
    rows = database.read(lambda db: db.execute(query).all())
    return {UserKey(tenant, user): number for user, number in rows}
