"""What commands note in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any

from hydra_ray.settings import Settings
from hydra_ray.store.audit import AuditLog, this_person
from hydra_ray.store.schema import open_database


def note(settings: Settings, tenant: str, action: str, target: str, detail: Mapping[str, Any] | None = None) -> None:
    """Adds to the audit log what whoever runs the command did.

    Args:
        settings: Say where the store is.
        tenant: Tenant that it was done in; empty for what concerns all of them.
        action: What was done, in the words of `AuditEntry`.
        target: Id of what it was done to.
        detail: More of it in plain values; never what users said.
    """
    with closing(open_database(settings.store_target)) as database:
        AuditLog(database).record(tenant, this_person(), action, target, detail)
