"""The switch of personalisation over HTTP, for whoever administrates a tenant."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import Response

from hydra_ray.serve.admit import Admit
from hydra_ray.serve.http.middleware import JsonRoute
from hydra_ray.serve.http.protocol import AsciiJSON
from hydra_ray.serve.user_rights import Preferences
from hydra_ray.store.rights.switches import ALL_TENANTS, Switches


class SwitchEndpoints:
    """Routes that show and turn the switch of the caller's own tenant; that of all is the operator's, by command.

    Args:
        switches: The switch in the store.
        admit: Makes the principals of requests.
    """

    def __init__(self, switches: Switches, admit: Admit) -> None:
        self._switches, self._admit = switches, admit

    def routes(self) -> APIRouter:
        """Return a router with the routes of the methods below."""
        router = APIRouter(prefix="/v1/admin/personalisation", route_class=JsonRoute)
        router.add_api_route("", self.show, methods=["GET"])
        router.add_api_route("", self.turn, methods=["PATCH"])
        return router

    async def show(self, request: Request) -> Response:
        """Whether users of the caller's tenant are personalised, and what switched them off."""
        principal = await self._admit(request, None)
        return await self._shown(principal.tenant)

    async def turn(self, preferences: Preferences, request: Request) -> Response:
        """Switches personalisation of the caller's tenant off or on; every replica knows within a second."""
        principal = await self._admit(request, None)
        wanted = preferences.personalisation
        await asyncio.to_thread(self._switches.turn, principal.tenant, wanted, principal.actor)
        return await self._shown(principal.tenant)

    async def _shown(self, tenant: str) -> Response:
        state = await asyncio.to_thread(self._switches.state)
        off = [name for name, key in (("all", ALL_TENANTS), ("tenant", tenant)) if key in state.off]
        about = {"tenant": tenant, "personalisation": state.is_on(tenant), "off_for": off}
        return AsciiJSON({"object": "personalisation", **about})
