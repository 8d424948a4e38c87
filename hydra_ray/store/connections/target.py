"""Which store is to be opened, and how: all that a process needs to know, and no secret in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hydra_ray.records import HydraError


@dataclass(frozen=True, slots=True, repr=False)
class StoreTarget:
    """A store to open. It may be logged, pickled and shown: passwords are looked up by whoever opens it.

    Attributes:
        url: SQLAlchemy URL.
        password_file: File that holds the database's password; None where there is none.
        password_env: Environment variable that holds it.
        max_connections: Most connections to the database of all processes together; None sets no limit.
        former: SQLite file where versions before kept users; what is there is moved to `url` if nothing is there yet.
    """

    url: str
    password_file: Path | None
    password_env: str | None
    max_connections: int | None
    former: Path | None

    @classmethod
    def of(cls, target: str | StoreTarget) -> StoreTarget:
        """Return a target for a URL; what is one already stays as it is."""
        return target if isinstance(target, StoreTarget) else cls(target, None, None, None, None)

    def __repr__(self) -> str:
        # Without the URL: people write passwords into them all the same.
        return f"StoreTarget({self.scheme}, max_connections={self.max_connections})"

    @property
    def scheme(self) -> str:
        """Kind of the store, without the driver: "postgresql", not "postgresql+psycopg"."""
        return self.url.partition(":")[0].partition("+")[0]

    def password(self) -> str | None:
        """Return the password as it is now, so that a changed one holds from the next connection on; None without one.

        Raises:
            HydraError: The file cannot be read, or the variable is not set.
        """
        if self.password_file is not None:
            try:
                return self.password_file.read_text(encoding="utf-8").strip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8"
                raise HydraError(f"store.password_file: {self.password_file} cannot be read: {reason}") from None
        if self.password_env is not None:
            if self.password_env not in os.environ:
                raise HydraError(
                    f"store.password_env: {self.password_env} is not set in the environment of this process (on a "
                    "cluster every node needs it)"
                )
            return os.environ[self.password_env]
        return None
