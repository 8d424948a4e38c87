"""Authentication by API keys: who shows one that holds is let in, and everybody else is not."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from starlette.datastructures import Headers

from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.principal import Caller
from hydra_ray.store.connections.target import StoreTarget
from hydra_ray.store.identity.key_store import KeyStore, SqlKeyStore
from hydra_ray.store.identity.keys import ApiKey, hash_of
from hydra_ray.store.schema import open_database

# Keys that are remembered, those that are none included.
_MOST_KEPT = 10_000
# No key is longer; what is would only be hashed in vain.
_LONGEST = 512


def open_keys(store: StoreTarget) -> KeyStore:
    """Open the API keys of a deployment."""
    return SqlKeyStore(open_database(store))


@dataclass
class KeyAuthenticate:
    """Finds callers by `Authorization: Bearer KEY`.

    What the store says of a key is remembered for a while, so a revocation holds that much later. It is made in one
    process and used in others: the store is opened where it is first asked.

    Attributes:
        store: Where the database of keys is, and how to log in.
        tenants: Tenants that are served; keys of others are refused.
        cache_s: Seconds for which what the store says of a key is remembered.
        open_store: Opens the store of keys.
    """

    store: StoreTarget
    tenants: frozenset[str]
    cache_s: float
    open_store: Callable[[StoreTarget], KeyStore] = open_keys
    _kept: OrderedDict[str, tuple[float, ApiKey | None]] = field(default_factory=OrderedDict)

    async def __call__(self, headers: Headers, peer: str | None) -> Caller:
        """Return who shows the key.

        Raises:
            RequestError: No key was sent, or it does not hold (401); its tenant is not served (403).
        """
        given = headers.getlist("authorization")
        scheme, _, text = (given[0] if len(given) == 1 else "").partition(" ")
        text = text.strip()
        if scheme.lower() != "bearer" or not text:
            raise _unknown("no API key was sent: send one as Authorization: Bearer KEY", None)
        key = await self._find(text) if len(text) <= _LONGEST else None
        if key is None or not key.holds(time.time()):
            # The same words for keys that never were, expired and were revoked: nobody learns which.
            raise _unknown("the API key that was sent is not valid", "invalid_api_key")
        if key.tenant not in self.tenants:
            raise RequestError("the tenant of this API key is not served here", code="forbidden", status=403)
        return Caller(key.tenant, key.id, key.scopes, key.user)

    async def _find(self, text: str) -> ApiKey | None:
        hashed, now = hash_of(text), time.monotonic()
        found = self._kept.get(hashed)
        if found is not None and now - found[0] < self.cache_s:
            return found[1]
        key = await asyncio.to_thread(self._look_up, text)
        self._kept[hashed] = now, key
        self._kept.move_to_end(hashed)
        if len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)
        return key

    def _look_up(self, text: str) -> ApiKey | None:
        return self._store.find(text)

    @cached_property
    def _store(self) -> KeyStore:
        return self.open_store(self.store)


def _unknown(message: str, code: str | None) -> RequestError:
    return RequestError(message, code=code, status=401, headers={"WWW-Authenticate": "Bearer"})
