"""API keys: random texts that callers show, of which the database holds a hash."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from hydra_ray.records import HydraError, as_user_id

# What a key may do, by scope.
SCOPES = {
    "chat": "ask for answers, and list models",
    "users": "read, teach and delete users' data",
    "admin": "make, list, rotate and revoke keys",
}
_BEGINNING = "hydra_"
# Of a key: enough to tell keys apart, and nothing that helps to guess the other 220 bits.
_SHOWN = len(_BEGINNING) + 6
_RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without the key itself.

    Attributes:
        id: Id, which never changes.
        tenant: The tenant whose users it may act for.
        user: The one user whom it may act for; None is every user of the tenant.
        name: Purpose of the key, in words of whoever made it.
        prefix: First characters of the key, by which people can tell which it is.
        scopes: Names of `SCOPES`, which say what it may do.
        created: When it was made, as all times in seconds since 1970.
        expires: From when it no longer holds; None is never.
        rotated: When it last got another text; None is never.
        revoked: When it was revoked; None where it holds.
    """

    id: str
    tenant: str
    user: str | None
    name: str
    prefix: str
    scopes: frozenset[str]
    created: float
    expires: float | None = None
    rotated: float | None = None
    revoked: float | None = None

    def holds(self, now: float) -> bool:
        """Whether callers who show it are let in."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def as_dict(self) -> dict[str, Any]:
        """The key in plain values, with times in ISO 8601."""
        return {
            "id": self.id,
            "object": "api_key",
            "tenant": self.tenant,
            "user": self.user,
            "name": self.name,
            "prefix": self.prefix,
            "scopes": [scope for scope in SCOPES if scope in self.scopes],
            "created": _iso(self.created),
            "expires": _iso(self.expires),
            "rotated": _iso(self.rotated),
            "revoked": _iso(self.revoked),
        }


def new_key(
    tenant: str, scopes: Collection[str], *, now: float, user: str | None, name: str, expires: float | None
) -> tuple[ApiKey, str]:
    """Make a key and the text that callers show, which is nowhere else.

    Raises:
        HydraError: What it is to be makes no sense; the message begins with the field.
    """
    if not scopes or (unknown := sorted(set(scopes) - SCOPES.keys())):
        wrong = f"there is no scope {unknown[0]!r}; there are" if scopes else "a key needs at least one of"
        raise HydraError(f"scopes: {wrong} {', '.join(SCOPES)}")
    if user is not None:
        try:
            user = as_user_id(user)
        except ValueError as error:
            raise HydraError(f"user: {error}") from None
        if "admin" in scopes:
            raise HydraError("user: a key with scope admin makes keys for everybody, so it cannot be one user's")
    if expires is not None and expires <= now:
        raise HydraError("expires: that is past")
    text = new_text()
    return ApiKey(f"key_{secrets.token_hex(8)}", tenant, user, name, shown(text), frozenset(scopes), now, expires), text


def new_text() -> str:
    """Draw what callers show: 256 random bits, so that a plain hash of it cannot be turned back."""
    return _BEGINNING + secrets.token_urlsafe(_RANDOM_BYTES)


def shown(text: str) -> str:
    """Return the beginning of a key's text that may be shown and kept."""
    return text[:_SHOWN]


def hash_of(text: str) -> str:
    """Return what is kept of a key's text."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def same_hash(one: str, other: str) -> bool:
    """Whether two hashes are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(one, other)


def with_new_text(key: ApiKey, text: str, now: float) -> ApiKey:
    """Return the key as it is once it has another text."""
    return replace(key, prefix=shown(text), rotated=now)


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
