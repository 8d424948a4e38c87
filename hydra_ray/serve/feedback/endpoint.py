"""The route that takes what users say of completions: an id and a thumb are enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from hydra_ray.learn.heads.online import Learnt
from hydra_ray.methods.ports import StepError
from hydra_ray.records import UserKey
from hydra_ray.serve.admit import Admit
from hydra_ray.serve.completions.writer import WRITTEN_WITHIN_S, CompletionWriter, look_again_s
from hydra_ray.serve.feedback.body import CompletionFeedback, event_of
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.middleware import JsonRoute
from hydra_ray.serve.http.principal import Principal
from hydra_ray.serve.http.protocol import AsciiJSON, refusal
from hydra_ray.serve.observe.trace import current_trace
from hydra_ray.settings import Settings
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.completions.records import Completion
from hydra_ray.store.protocol import Store
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)

_DAY_S = 86_400
# Others may say something else while it is learnt: the last word is learnt after so many tries, or when it comes again.
_ROUNDS = 3

_NOT_LEARNT = Learnt("unchanged", False, "it is kept; there is nothing to learn from it")
_OF_NOBODY = Learnt("unchanged", False, "it is kept; the answer was nobody's, so nobody's head learns from it")
_REPEATED = Learnt("unchanged", False, "it was said before: what was learnt then stands")

# Learns from an event of a user, with the ids of the items that were read and the number of the user's deletions.
Teach = Callable[[UserKey, FeedbackEvent, Sequence[str], int], Awaitable[Learnt]]


class FeedbackById:
    """Takes what users say of completions, keeps it with them and teaches the users' heads.

    Args:
        settings: Say for how long it is taken, and on which scale answers are rated.
        task: Task of the base.
        completions: The completion log.
        writer: Writes this replica's completions, of which the newest wait there.
        admit: Makes the principals of requests.
        store: Store of users.
        teach: Teaches a user's head.
    """

    def __init__(
        self,
        settings: Settings,
        task: Task,
        completions: CompletionLog,
        writer: CompletionWriter,
        admit: Admit,
        store: Store,
        teach: Teach,
    ) -> None:
        self._settings, self._task, self._log, self._writer = settings, task, completions, writer
        self._admit, self._store, self._teach = admit, store, teach

    def routes(self) -> APIRouter:
        """Return a router with the route."""
        router = APIRouter(route_class=JsonRoute)
        router.add_api_route("/v1/feedback", self.say, methods=["POST"])
        return router

    async def say(self, feedback: CompletionFeedback, request: Request) -> Response:
        """Keeps what a user says of a completion, and learns from it."""
        principal = await self._admit(request, None)
        completion = await self._find(principal, feedback.id)
        self._refuse_late(completion)
        serve = self._settings.serve
        statement = feedback.statement(serve.ratings, completion)
        key, event, deletions = completion.key, None, 0
        if key is not None:
            # Before anything is written: what cannot be an event is not said.
            event = event_of(completion, statement, serve.ratings, self._task)
            if not await asyncio.to_thread(self._store.records.is_personalised, key):
                raise RequestError("personalisation is switched off for this user", "id", "not_personal", 409)
            # Looked up before the log is: who is deleted meanwhile does not come back by it.
            deletions = await asyncio.to_thread(self._store.deletions, key)
        said = await asyncio.to_thread(self._log.say, completion, statement)
        if said is None:
            raise _unknown(feedback.id)
        current_trace().said = statement.reaction or "rated"
        try:
            learnt = await self._learn(said, key, event, deletions)
        except StepError as error:
            log.warning("feedback on %s is kept and not learnt yet", feedback.id, exc_info=error)
            message = "the feedback is kept and not learnt yet: send it again"
            return refusal(503, message, "upstream_error", {"Retry-After": "1"})
        in_history = event is not None and event.item is not None and learnt.kept
        reply = {"id": feedback.id, "object": "feedback", "history": in_history}
        return AsciiJSON({**reply, "learnt": learnt.learnt, "head": learnt.head, "note": learnt.note})

    async def _find(self, principal: Principal, completion_id: str) -> Completion:
        """Return a completion that the caller may speak of.

        Raises:
            RequestError: There is none (404).
        """
        if not self._settings.serve.completions.enabled:
            message = "completions are not kept here (serve.completions.enabled)"
            raise RequestError(message, "id", "completion_not_found", 404)
        tenant = principal.tenant
        await asyncio.to_thread(self._writer.settle, tenant, completion_id, WRITTEN_WITHIN_S)
        found = await asyncio.to_thread(self._log.find, tenant, completion_id)
        for wait_s in look_again_s(completion_id):
            if found is not None:
                break
            await asyncio.sleep(wait_s)
            found = await asyncio.to_thread(self._log.find, tenant, completion_id)
        if found is None or (principal.user is not None and principal.user != found.key):
            raise _unknown(completion_id)
        return found

    def _refuse_late(self, completion: Completion) -> None:
        days = self._settings.serve.feedback_days
        if time.time() - completion.created_s > days * _DAY_S:
            message = (
                f"id: the answer is older than {days:g} days (serve.feedback_days): nothing is said of it any more"
            )
            raise RequestError(message, "id", "feedback_too_late", 410)

    async def _learn(
        self, said: Completion, key: UserKey | None, event: FeedbackEvent | None, deletions: int
    ) -> Learnt:
        if key is None:
            return _OF_NOBODY
        if said.learnt:
            return _REPEATED
        if event is None or not self._settings.of_tenant(key.tenant).personal:
            return _NOT_LEARNT
        learnt = _NOT_LEARNT
        for _ in range(_ROUNDS):
            learnt = await self._teach(key, event, said.history, deletions)
            if not learnt.kept or await asyncio.to_thread(self._log.note_learnt, said):
                break
            # Somebody said something else meanwhile, and perhaps learnt it before this was.
            newer = await asyncio.to_thread(self._log.find, said.tenant, said.id)
            if newer is None or newer.statement is None:
                break
            newest = event_of(newer, newer.statement, self._settings.serve.ratings, self._task)
            if newest is None:
                break
            said, event = newer, newest
        return learnt


def _unknown(completion_id: str) -> RequestError:
    return RequestError(
        f"id: there is no completion {completion_id!r} of this caller, or it is not written yet: one that another "
        "replica answered a moment ago is known after a second",
        "id",
        "completion_not_found",
        404,
    )
