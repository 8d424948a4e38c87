"""API keys over HTTP, for whoever administrates a tenant: made, listed, rotated, revoked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from hydra_ray.records import HydraError
from hydra_ray.serve.admit import Admit
from hydra_ray.serve.http import protocol
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.ids import Id
from hydra_ray.serve.http.messages import Lenient
from hydra_ray.serve.http.middleware import JsonRoute
from hydra_ray.store.identity.key_store import KeyNotFoundError, KeyStore
from hydra_ray.store.identity.keys import new_key
from hydra_ray.store.types import StoreError

Found = TypeVar("Found")


class WantedKey(Lenient):
    """A key that is wanted.

    Attributes:
        name: Purpose of the key, for lists.
        scopes: Names of scopes, which say what it may do.
        user: The one user whom it may act for; None is every user of the tenant.
        expires_in_s: Seconds for which it holds; None is for good.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field("", max_length=200)
    scopes: list[str] = Field(max_length=8)
    user: str | None = Field(None, max_length=1000)
    expires_in_s: float | None = Field(None, gt=0, le=1e10)


class WantedRotation(Lenient):
    """How a key is rotated.

    Attributes:
        grace_s: Seconds for which the former key still holds.
    """

    model_config = ConfigDict(extra="forbid")

    grace_s: float = Field(0, ge=0, le=1e8)


class AdminEndpoints:
    """The part of the ingress that is about API keys; nobody sees keys of another tenant.

    Args:
        keys: The keys.
        admit: Makes the principals of requests.
    """

    def __init__(self, keys: KeyStore, admit: Admit) -> None:
        self._keys, self._admit = keys, admit

    def routes(self) -> APIRouter:
        """Return a router with the routes of the methods below."""
        router = APIRouter(prefix="/v1/admin/keys", route_class=JsonRoute)
        router.add_api_route("", self.create, methods=["POST"])
        router.add_api_route("", self.list_keys, methods=["GET"])
        router.add_api_route("/{key}", self.show, methods=["GET"])
        router.add_api_route("/{key}", self.revoke, methods=["DELETE"])
        router.add_api_route("/{key}/rotate", self.rotate, methods=["POST"])
        return router

    async def create(self, wanted: WantedKey, request: Request) -> Response:
        """Makes a key of the caller's tenant; `key` in the answer is it, and is shown this once."""
        principal = await self._admit(request, None)
        now = time.time()
        expires = None if wanted.expires_in_s is None else now + wanted.expires_in_s
        more: dict[str, Any] = {"user": wanted.user, "name": wanted.name, "expires": expires}
        key, text = _or_refused(lambda: new_key(principal.tenant, wanted.scopes, now=now, **more))
        await asyncio.to_thread(self._keys.add, key, text, principal.actor)
        return protocol.AsciiJSON({**key.as_dict(), "key": text})

    async def list_keys(self, request: Request) -> Response:
        """The keys of the caller's tenant, oldest first, with those that hold no longer."""
        principal = await self._admit(request, None)
        keys = await asyncio.to_thread(self._keys.keys, principal.tenant)
        return protocol.AsciiJSON({"object": "list", "data": [key.as_dict() for key in keys]})

    async def show(self, key: Id, request: Request) -> Response:
        """One key of the caller's tenant."""
        principal = await self._admit(request, None)
        found = await asyncio.to_thread(_or_refused, lambda: self._keys.get(principal.tenant, key))
        return protocol.AsciiJSON(found.as_dict())

    async def revoke(self, key: Id, request: Request) -> Response:
        """Revokes a key of the caller's tenant, for good."""
        principal = await self._admit(request, None)
        found = await asyncio.to_thread(_or_refused, lambda: self._keys.revoke(principal.tenant, key, principal.actor))
        return protocol.AsciiJSON(found.as_dict())

    async def rotate(self, key: Id, wanted: WantedRotation, request: Request) -> Response:
        """Gives a key of the caller's tenant another text, `key` in the answer, which is shown this once."""
        principal = await self._admit(request, None)
        found, text = await asyncio.to_thread(
            _or_refused, lambda: self._keys.rotate(principal.tenant, key, principal.actor, wanted.grace_s)
        )
        return protocol.AsciiJSON({**found.as_dict(), "key": text})


def _or_refused(work: Callable[[], Found]) -> Found:
    """Do what a caller asked for; where it makes no sense, they are told so."""
    try:
        return work()
    except StoreError:
        raise
    except HydraError as error:
        # The message begins with the field.
        status = 404 if isinstance(error, KeyNotFoundError) else 400
        raise RequestError(str(error), str(error).partition(":")[0].partition(" ")[0], status=status) from None
