"""Completions as rows of their table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple
from typing import Any

from sqlalchemy import Connection, delete, or_, select

from hydra_ray.records import Source, Usage, UserKey
from hydra_ray.store.completions.records import Completion, GateOutcome, Offer, Statement
from hydra_ray.store.rows import of
from hydra_ray.store.tables import COMPLETIONS, FEEDBACK_EVENTS

# The user whose name a row has where it is nobody's. No user's id is blank.
_NOBODY = ""


def as_row(completion: Completion) -> dict[str, Any]:
    """Return the row of a completion."""
    usage = completion.usage
    offers = [_offer_columns(one) for one in completion.candidates]
    return {
        "tenant": completion.tenant,
        "user": _NOBODY if completion.user is None else completion.user,
        "id": completion.id,
        "request_id": completion.request_id,
        "created_s": completion.created_s,
        "version": completion.version,
        "method": completion.method,
        "arm": completion.arm,
        "propensity": completion.propensity,
        "head": completion.head,
        "input": None if completion.input is None else _storable(completion.input),
        # Texts as they are: who looks for one in the database finds it.
        "history": json.dumps(completion.history, ensure_ascii=False),
        "candidates": json.dumps(offers, ensure_ascii=False),
        "answered": completion.answered,
        "degraded": json.dumps(completion.degraded),
        "calls": usage.calls,
        "cached": usage.cached,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "seconds": completion.seconds,
        "streamed": completion.streamed,
        "passed_for": completion.passed_for,
        "gate_answered": completion.gate and completion.gate.answered,
        "gate_gain": completion.gate and completion.gate.gain,
        "gate_low": completion.gate and completion.gate.low,
        **statement_columns(completion.statement, completion.said_s, learnt=completion.learnt),
    }


def statement_columns(statement: Statement | None, said_s: float | None, *, learnt: bool) -> dict[str, Any]:
    """Return the columns that say what was said of a completion."""
    said = statement or Statement()
    return {
        "reaction": said.reaction,
        "rating": said.rating,
        "edited": said.edited,
        "chosen": said.chosen,
        "said_s": said_s,
        "learnt": learnt,
    }


def as_completion(row: Mapping[str, Any] | Any) -> Completion:
    """Return the completion of a row."""
    said = None
    if row["said_s"] is not None:
        said = Statement(row["reaction"], row["rating"], row["edited"], row["chosen"])
    return Completion(
        row["id"],
        row["request_id"],
        row["tenant"],
        row["user"] or None,
        row["created_s"],
        row["version"],
        row["method"],
        row["arm"],
        row["propensity"],
        row["head"],
        row["input"],
        tuple(json.loads(row["history"])),
        tuple(_offer(*offer) for offer in json.loads(row["candidates"])),
        row["answered"],
        tuple(json.loads(row["degraded"])),
        Usage(row["calls"], row["prompt_tokens"], row["completion_tokens"], row["cached"]),
        row["seconds"],
        row["streamed"],
        said,
        row["said_s"],
        bool(row["learnt"]),
        row["passed_for"],
        None if row["gate_answered"] is None else GateOutcome(row["gate_answered"], row["gate_gain"], row["gate_low"]),
    )


def _offer_columns(one: Offer) -> list[Any]:
    columns: list[Any] = [_storable(one.text), one.votes, one.score]
    # Left out where there are none: versions that know of none read such rows, too.
    return [*columns, [astuple(source) for source in one.sources]] if one.sources else columns


def _offer(text: str, votes: int, score: float, sources: Iterable[tuple[str, int, bool]] = ()) -> Offer:
    return Offer(text, votes, score, tuple(Source(*source) for source in sources))


def _storable(text: str) -> str:
    """Return a text as databases take it: LLMs write halves of surrogate pairs, and clients zeros."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def forget(db: Connection, key: UserKey, item_id: str) -> bool:
    """Removes the completions that a history item came of: what was asked and answered there is the item's text.

    Also one of which nothing was said, by its own id. Returns whether there was any.
    """
    e = FEEDBACK_EVENTS.c
    about = select(e.completion_id).where(*of(FEEDBACK_EVENTS, key), e.id == item_id, e.completion_id.is_not(None))
    mine = or_(COMPLETIONS.c.id == item_id, COMPLETIONS.c.id.in_(about))
    return bool(db.execute(delete(COMPLETIONS).where(*of(COMPLETIONS, key), mine)).rowcount)
