"""Users' own data over HTTP: feedback on answers, and history; rights on all of it are in `user_rights.py`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from hydra_ray.dates import in_order
from hydra_ray.learn.heads.online import Learnt
from hydra_ray.methods.ports import StepError
from hydra_ray.records import HistoryItem, Query, UserKey
from hydra_ray.serve.admit import Admit
from hydra_ray.serve.completions.writer import WRITTEN_WITHIN_S, CompletionWriter, look_again_s
from hydra_ray.serve.feedback.history import History, put_items
from hydra_ray.serve.feedback.notes import Notes
from hydra_ray.serve.http import protocol
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.ids import Dated, Id, StoredText, UserId
from hydra_ray.serve.http.messages import Lenient
from hydra_ray.serve.http.middleware import JsonRoute
from hydra_ray.serve.http.principal import Principal
from hydra_ray.serve.observe.trace import current_trace
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.serve.user_rights import UserRights
from hydra_ray.settings import Settings
from hydra_ray.store.audit import AuditLog
from hydra_ray.store.backends import open_store
from hydra_ray.store.types import DeletedMeanwhileError, FeedbackEvent, Said
from hydra_ray.tasks import Task

# Kept, it would teach at the next fit what the user does not want to be known.
_SWITCHED_OFF = "user: personalisation is switched off for this user: nothing is kept or learnt; PATCH switches it on"


class Feedback(Lenient):
    """A user's feedback on one answer: exactly one of `accepted`, `edited` and `rejected`.

    Attributes:
        input: The query, as it was asked.
        candidates: Texts on offer, as `hydra.candidates` of the answer lists them.
        votes: Samples that gave each candidate, as `hydra.candidates` has them too; empty when they are not known.
        accepted: The text that the user took as it is.
        edited: The text that the user made of an answer.
        rejected: The text that the user would not have.
        id: Id of the history item; sent again it replaces what was said before.
        ts: When it was said: a date as `hydra_ray.dates.span` reads it.
        completion_id: Id of the completion that it is about.
        method: Method that answered, as `hydra.method` of the answer says.
        propensity: Probability with which the answer was chosen.
    """

    model_config = ConfigDict(extra="forbid")

    input: StoredText
    candidates: list[StoredText] = Field([], max_length=64)
    # Checked against the candidates, which come first.
    votes: list[Annotated[int, Field(ge=0, le=1_000_000)]] = Field([], max_length=64)
    id: StoredText = Field(default_factory=lambda: uuid.uuid4().hex)
    ts: Dated | None = None
    completion_id: StoredText | None = None
    method: StoredText | None = None
    propensity: float | None = Field(None, ge=0, le=1)
    accepted: StoredText | None = None
    edited: StoredText | None = None
    rejected: StoredText | None = Field(None, validate_default=True)

    @field_validator("votes")
    @classmethod
    def _is_one_for_each(cls, votes: list[int], info: ValidationInfo) -> list[int]:
        # Candidates that are wrong in themselves are not among the data, and have an error of their own.
        candidates = info.data.get("candidates")
        if votes and candidates is not None and len(votes) != len(candidates):
            numbers = {"votes": len(votes), "candidates": len(candidates)}
            raise PydanticCustomError("votes", "{votes} numbers for {candidates} candidates", numbers)
        return votes

    @field_validator("rejected")
    @classmethod
    def _is_one_verdict(cls, rejected: str | None, info: ValidationInfo) -> str | None:
        # A text that is wrong in itself is not among the data, and has an error of its own.
        given = [name for name in ("accepted", "edited") if info.data.get(name, "") is not None]
        given += [] if rejected is None else ["rejected"]
        if len(given) != 1:
            reply = " and ".join(given) or "none"
            raise PydanticCustomError("verdict", f"exactly one of accepted, edited and rejected is wanted, not {reply}")
        return rejected

    def event(self, task: Task) -> FeedbackEvent:
        """Return the feedback event, with texts as the task reads them.

        Raises:
            ValueError: There is no query, or what the user preferred is not among the task's allowed answers; the
                message names the fields.
        """
        said: Said = "accepted" if self.accepted else "edited" if self.edited else "rejected"
        text = self.accepted or self.edited or self.rejected or ""
        question = task.query_text(self.input)
        if not task.pairs:
            raise ValueError(f"input: histories of {task.name} hold no answers to queries: nothing is learnt")
        wrong = [] if question else ["input: there is no text beside the instruction"]
        if task.closed and said != "rejected" and task.parse(text) is None:
            wrong.append(f"{said}: {text!r} is not among the allowed answers: {', '.join(task.labels)}")
        if wrong:
            raise ValueError("; ".join(wrong))
        texts = [task.parse(one) or one for one in (text, *self.candidates)]
        return FeedbackEvent(
            self.id,
            question,
            said,
            texts[0],
            tuple(texts[1:]),
            self.ts,
            tuple(self.votes),
            self.completion_id,
            self.method,
            self.propensity,
        )


class UserEndpoints:
    """The part of the ingress that is about users.

    Args:
        settings: Settings that say where the store is, and how many answers the adapter reads.
        task: Task that the base was trained for.
        steps: Steps that learn, forget, and retrieve what the adapter reads.
        admit: Makes the principals of requests.
        audit: Log of what was deleted.
        serving: Gives the version of the base that serves.
        notes: Tell others what is new of users.
        completions: Writes this replica's completions, of which the newest wait there.
    """

    def __init__(
        self,
        settings: Settings,
        task: Task,
        steps: RemoteSteps,
        admit: Admit,
        audit: AuditLog,
        serving: Callable[[], str],
        notes: Notes,
        completions: CompletionWriter,
    ) -> None:
        self._settings, self._task, self._steps, self._admit, self._audit = settings, task, steps, admit, audit
        self._store, self._serving = open_store(settings.store_target), serving
        self._notes, self._completions = notes, completions
        self._rights = UserRights(self._store, self._for, self._record, serving)

    def user_routes(self) -> APIRouter:
        """Return a router with the routes of the methods below."""
        router = APIRouter(prefix="/v1/users/{user}", route_class=JsonRoute)
        router.add_api_route("/feedback", self.give_feedback, methods=["POST"])
        router.add_api_route("/history", self.history, methods=["GET"])
        router.add_api_route("/history", self.add_history, methods=["POST"])
        router.add_api_route("/history/{item}", self.forget_item, methods=["DELETE"])
        self._rights.add_to(router)
        return router

    async def give_feedback(self, user: UserId, feedback: Feedback, request: Request) -> Response:
        """Learns from what the user said of an answer."""
        key = await self._owner(request, user)
        await self._refuse_unwanted(key)
        try:
            event = feedback.event(self._task)
        except ValueError as error:
            # The message begins with the first wrong field.
            return protocol.refusal(400, str(error), "invalid_request_error", param=str(error).partition(":")[0])
        # Looked up first: who is deleted while the rest goes on does not come back by it.
        deletions = await asyncio.to_thread(self._store.deletions, key)
        try:
            learnt = await self._teach(key, event, (), deletions)
        except StepError:
            # A time-out does not tell whether the work was done; with the id it can be done again.
            return _try_again(f"the feedback may not have been kept: send it again with id {event.item_id!r}")
        current_trace().said = event.said
        reply = {"id": event.item_id, "object": "feedback", "history": event.item is not None and learnt.kept}
        return protocol.AsciiJSON({**reply, "learnt": learnt.learnt, "head": learnt.head, "note": learnt.note})

    async def add_history(self, user: UserId, past: History, request: Request) -> Response:
        """Adds what the user did elsewhere; it counts at the next request."""
        principal, key = await self._for(request, user)
        await self._refuse_unwanted(key)
        deletions = await asyncio.to_thread(self._store.deletions, key)
        items = past.read(self._task)
        try:
            counts = await asyncio.to_thread(put_items, self._store, key, items, self._serving(), deletions)
        except DeletedMeanwhileError:
            raise RequestError("the user was deleted meanwhile: nothing of it is kept", "user", status=409) from None
        self._notes.tell(key, items if counts["added"] or counts["updated"] else ())
        return protocol.AsciiJSON({"object": "history.added", "user": principal.user_id, **counts})

    async def history(self, user: UserId, request: Request) -> dict[str, Any]:
        """The user's history, oldest first; empty for an unknown user."""
        key = await self._owner(request, user)
        items = in_order(await asyncio.to_thread(self._store.history, key), lambda item: item.ts)
        return {"object": "list", "data": [asdict(item) for item in items]}

    async def forget_item(self, user: UserId, item: Id, request: Request) -> Response:
        """Removes an item, and what was learnt from it; or an answer of which nothing was said, by its id."""
        principal, key = await self._for(request, user)
        # It may be the id of an answer of a moment ago, or one that another replica writes.
        if not await asyncio.to_thread(self._completions.settle, key.tenant, item, WRITTEN_WITHIN_S):
            return _try_again("the answer is not written yet, so it cannot be removed: ask again")
        try:
            forgotten = await self._steps.forget(key, item)
            for wait_s in look_again_s(item):
                if forgotten.found:
                    break
                await asyncio.sleep(wait_s)
                forgotten = await self._steps.forget(key, item)
        except StepError:
            return _try_again("the item may not have been removed: ask again")
        if not forgotten.found:
            return protocol.refusal(404, f"item: this user has no {item!r}", "invalid_request_error", param="item")
        await self._record(principal, "item.delete", {"item": item})
        return protocol.AsciiJSON({"id": item, "object": "history.item", "deleted": True, "heads": forgotten.heads})

    async def _owner(self, request: Request, user: str) -> UserKey:
        """Key of the user whom the path names, once the caller may act for them."""
        return (await self._for(request, user))[1]

    async def _for(self, request: Request, user: str) -> tuple[Principal, UserKey]:
        """The principal of a request about the user whom the path names, and that user's key."""
        principal = await self._admit(request, user)
        assert principal.user is not None, "a request that names a user is for nobody else"
        return principal, principal.user

    async def _refuse_unwanted(self, key: UserKey) -> None:
        """Refuses what a user says where nothing is to be learnt of them.

        Raises:
            RequestError: The tenant is not personal (403), or the user switched personalisation off (409).
        """
        if not self._settings.of_tenant(key.tenant).personal:
            raise RequestError("nothing is learnt of this tenant's users", code="not_personal", status=403)
        if not await asyncio.to_thread(self._store.records.is_personalised, key):
            raise RequestError(_SWITCHED_OFF, "user", status=409)

    async def _record(self, principal: Principal, action: str, detail: dict[str, Any]) -> None:
        """Adds to the audit log what was done to the request's user."""
        target = principal.user_id or ""
        await asyncio.to_thread(self._audit.record, principal.tenant, principal.actor, action, target, detail)

    async def _teach(self, key: UserKey, event: FeedbackEvent, read: Sequence[str], deletions: int) -> Learnt:
        """Has the adapter learn from an event, with the items whose answers it read.

        Args:
            key: The user.
            event: The event.
            read: Ids of these items; empty where nobody knows, and then they are looked up anew.
            deletions: How often the user was deleted when the event came in.

        Raises:
            StepError: Whether it was learnt is not known.
        """
        if read:
            found = [
                await asyncio.to_thread(self._store.history_item, key, one) for one in read if one != event.item_id
            ]
            history = tuple(item for item in found if item is not None)
        else:
            history = await self._read_history(Query(event.item_id, key, event.input))
        learnt = await self._steps.learn(key, event, history, deletions)
        self._notes.tell(key, (event.item,) if learnt.kept and event.item is not None else ())
        return learnt

    async def _read_history(self, query: Query) -> tuple[HistoryItem, ...]:
        """Retrieved items whose answers the method reads, but for the one that the feedback is about."""
        count = self._settings.method.history_answers
        found = await self._steps.retrieve(query, count + 1, self._settings.method.retriever)
        return tuple(ranked.item for ranked in found if ranked.item.id != query.id)[:count]


def _try_again(message: str) -> JSONResponse:
    return protocol.refusal(503, message, "upstream_error", {"Retry-After": "1"})
