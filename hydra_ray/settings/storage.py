"""Settings of the store of users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from hydra_ray.settings.section import Section


class StoreSettings(Section):
    """Where users' histories, heads, observations and profiles are, whichever base is served, and for how long."""

    url: str | None = Field(
        None, description="SQLAlchemy URL of the users' store, without a password; null: users.db in out (SQLite)."
    )
    password_file: Path | None = Field(None, description="File that holds the password of the store's database.")
    password_env: str | None = Field(
        None, description="Environment variable that holds it; processes on every node need it."
    )
    max_connections: int | None = Field(
        32,
        ge=4,
        description="Most connections to a PostgreSQL, of all processes of the application together; null: no limit.",
    )
    retention_days: int | None = Field(
        None, ge=1, description="Age in days at which `hydra-ray users expire` forgets; null: nothing is too old."
    )

    @model_validator(mode="after")
    def _password_is_told_once(self) -> StoreSettings:
        given = [name for name in ("password_file", "password_env") if getattr(self, name) is not None]
        given += ["url"] if self.url is not None and _has_password(self.url) else []
        if len(given) > 1:
            raise ValueError(f"the password is told by {' and '.join(given)}: one of them is enough")
        return self

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            # The rest of an URL says enough, in logs and tracebacks.
            yield name, _without_password(value) if name == "url" and value else value


class CompletionLogSettings(Section):
    """The completion log: what was asked and answered, so that feedback needs no more than an id."""

    enabled: bool = Field(True, description="false: nothing is kept, and /v1/feedback knows no completion.")
    days: float = Field(30, gt=0, description="For so many days a completion is kept.")
    max_rows: int = Field(1_000_000, ge=1, description="Most completions of all tenants; the oldest go first.")
    queue: int = Field(
        10_000, ge=1, description="Completions that wait in a replica to be written; more are not kept, and counted."
    )


def _has_password(url: str) -> bool:
    try:
        return bool(urlsplit(url).password)
    except ValueError:
        return False


def _without_password(url: str) -> str:
    before, found, after = url.rpartition("@")
    if not found:
        return url
    scheme, _, owner = before.partition("://")
    return f"{scheme}://{owner.partition(':')[0]}:***@{after}" if ":" in owner else url
