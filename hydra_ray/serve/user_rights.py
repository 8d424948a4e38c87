"""Users' rights over HTTP: see what is known, take it along, switch personalisation off, be forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import ConfigDict

from hydra_ray.methods.ports import StepError
from hydra_ray.records import UserKey
from hydra_ray.rights.about import about_user
from hydra_ray.rights.document import export_user, to_parquet
from hydra_ray.serve.http.ids import UserId
from hydra_ray.serve.http.messages import Lenient
from hydra_ray.serve.http.principal import Principal
from hydra_ray.serve.http.protocol import AsciiJSON
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.store.protocol import Store

log = logging.getLogger(__name__)

Form = Annotated[Literal["json", "parquet"], Query(alias="format")]


class Preferences(Lenient):
    """What a user wants.

    Attributes:
        personalisation: Whether they are answered in their own way, and what they say teaches.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    personalisation: bool


@dataclass(frozen=True, slots=True)
class UserRights:
    """Routes on one user as a whole.

    Attributes:
        store: Store of users.
        admit: Gives the principal of a request, and the user whom the path names, once the caller may act for them.
        record: Adds to the audit log what was done to a principal's user.
        serving: Gives the version of the base that serves.
    """

    store: Store
    admit: Callable[[Request, str], Awaitable[tuple[Principal, UserKey]]]
    record: Callable[[Principal, str, dict[str, Any]], Awaitable[None]]
    serving: Callable[[], str]

    def add_to(self, router: APIRouter) -> None:
        """Adds the routes to a router of the paths of one user."""
        router.add_api_route("", self.about, methods=["GET"])
        router.add_api_route("", self.prefer, methods=["PATCH"])
        router.add_api_route("", self.forget, methods=["DELETE"])
        router.add_api_route("/export", self.export, methods=["GET"])

    async def about(self, user: UserId, request: Request) -> Response:
        """What is known of the user, in short."""
        _, key = await self.admit(request, user)
        return AsciiJSON(await asyncio.to_thread(about_user, self.store, key, self.serving()))

    async def export(self, user: UserId, request: Request, form: Form = "json") -> Response:
        """All that is known of exactly this user; other users are not named."""
        principal, key = await self.admit(request, user)
        document = await asyncio.to_thread(export_user, self.store, key, others=False)
        await self.record(principal, "user.export", {"format": form})
        if form == "json":
            return AsciiJSON(document)
        content = await asyncio.to_thread(to_parquet, document)
        return Response(content, media_type="application/vnd.apache.parquet")

    async def prefer(self, user: UserId, preferences: Preferences, request: Request) -> Response:
        """Switches personalisation off and on; the next request of every replica knows."""
        principal, key = await self.admit(request, user)
        await asyncio.to_thread(self.store.records.personalise, key, preferences.personalisation)
        await self.record(principal, "user.preferences", {"personalisation": preferences.personalisation})
        return AsciiJSON({"id": key.user, "object": "user", "personalisation": preferences.personalisation})

    async def forget(self, user: UserId, request: Request) -> Response:
        """Removes all that is known of exactly this user, and says how much it was."""
        principal, key = await self.admit(request, user)
        counts = await asyncio.to_thread(self.store.delete, key)
        await self.record(principal, "user.delete", {"counts": counts})
        return AsciiJSON({"id": key.user, "object": "user", "deleted": any(counts.values()), "counts": counts})


async def personalised(store: Store, key: UserKey | None, steps: RemoteSteps) -> tuple[bool, tuple[str, ...]]:
    """Return whether a request is to be answered in its user's own way, and what was done without to find out.

    One row is read by its key for each request, so that every replica knows at once. Where the store does not answer in
    time, nobody's wish is known, and the answer is that of nobody.

    Args:
        store: Store of users.
        key: User whom the request is for; None for nobody.
        steps: Steps with the breakers, and the longest wait.

    Returns:
        Whether it is, and what was done without.
    """
    if key is None:
        return False, ()

    async def look_up() -> bool:
        return await asyncio.to_thread(store.records.is_personalised, key)

    try:
        return await steps.look_up("preferences", look_up), ()
    except StepError as error:
        log.warning("it is not known whether a user wants to be personalised: answered as nobody", exc_info=error)
        return False, ("preferences",)
