"""OpenAI's chat completions on the wire, and what hydra-ray adds: the `hydra` object."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Awaitable, Sequence
from dataclasses import asdict
from typing import Any

from fastapi.responses import JSONResponse

from hydra_ray.methods.ports import StepError
from hydra_ray.records import Answer, Query
from hydra_ray.steps.generate import FilteredError, GenerateError
from hydra_ray.steps.generate.endpoint.refusal import is_too_long

log = logging.getLogger(__name__)


class AsciiJSON(JSONResponse):
    """JSON of ASCII only: what LLMs and clients write may hold half a surrogate pair, which UTF-8 cannot."""

    def render(self, content: Any) -> bytes:
        """The body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def completion(completion_id: str, answer: Answer, model: str, n: int, hydra: dict[str, Any]) -> dict[str, Any]:
    """Return the response: the n best candidates as choices.

    Args:
        completion_id: Id of the completion.
        answer: The method's answer.
        model: The name of exactly what answered, as OpenAI names dated versions.
        n: Number of choices.
        hydra: The `hydra` object, from `about`.
    """
    return {
        **envelope(completion_id, model, "chat.completion"),
        "choices": [
            {
                "index": i,
                "message": {
                    "role": "assistant",
                    "content": None if answer.refusal else text,
                    "refusal": answer.refusal or None,
                },
                "finish_reason": finish,
                "logprobs": None,
            }
            for i, (text, finish) in enumerate(choices_of(answer, n))
        ],
        "usage": usage_of(answer),
        "hydra": hydra,
    }


def about(
    answer: Answer,
    method: str,
    user: str | None,
    ignored: Sequence[str],
    version: str,
    *,
    personalised: bool,
    arm: tuple[str | None, float],
    detail: bool,
) -> dict[str, Any]:
    """Return the `hydra` object, which says how the answer came about.

    Args:
        answer: The method's answer.
        method: The method's name.
        user: The user whom the answer is for; None for nobody.
        ignored: Parameters and messages of the request that changed nothing.
        version: Version of the base that judged.
        personalised: Whether the answer is made for the user; it is not for nobody, nor for who switched it off.
        arm: Name of the arm of the online experiment, None where the request is in none; and its propensity.
        detail: Whether the caller may see what is known of the user: history, candidates and arm. Else they are left
            out.
    """
    known = {
        "history": [
            {"id": r.item.id, "input": r.item.input, "output": r.item.output, "score": r.score, "fill": r.fill}
            for r in answer.history
        ],
        "candidates": [
            {
                "text": c.text,
                "votes": c.votes,
                "logit": c.logit,
                "score": c.score,
                "sources": [asdict(source) for source in c.sources],
            }
            for c in answer.candidates
        ],
        "arm": arm[0],
        "propensity": arm[1],
    }
    return {
        "method": method,
        "user": user,
        "version": version,
        "personalised": personalised,
        **(known if detail else {}),
        "head": answer.head,
        "gate": _gate(answer),
        "degraded": list(answer.degraded),
        "truncated": answer.truncated,
        "ignored": list(ignored),
    }


def refusal(
    status: int,
    message: str,
    kind: str,
    headers: dict[str, str] | None = None,
    *,
    param: str | None = None,
    code: str | None = None,
) -> JSONResponse:
    """An error response in OpenAI's form.

    Args:
        status: HTTP status.
        message: What is wrong, in words for people.
        kind: OpenAI's `type`.
        headers: More headers.
        param: The parameter that is wrong.
        code: What is wrong as a word for programs, where OpenAI has one.
    """
    return AsciiJSON({"error": {"message": message, "type": kind, "param": param, "code": code}}, status, headers)


async def unless_filtered(answer: Awaitable[Answer], query: Query) -> Answer:
    """Return a method's answer; where nothing is left of it, as OpenAI does, one without text that says why.

    Args:
        answer: The method at work.
        query: What it answers.

    Raises:
        GenerateError: The LLM gave no answer, or refused the prompt.
        StepError: Another step failed without which the method cannot go on.
    """
    try:
        return await answer
    except FilteredError as error:
        log.info("nothing is left of an answer: %s", error)
        finish = "stop" if error.refusal else "content_filter"
        return Answer(query.id, "", usage=error.usage, finish=finish, refusal=error.refusal)


def no_answer(error: GenerateError | StepError) -> JSONResponse:
    """Return the response where the LLM, or a step that the method cannot do without, gave nothing."""
    if isinstance(error, StepError):
        return refusal(503, f"{error}: ask again", "upstream_error", {"Retry-After": "1"})
    if error.kind == "busy":
        return refusal(429, str(error), "rate_limit_error", {"Retry-After": "1"})
    if error.kind == "deadline":
        return refusal(504, str(error), "timeout_error", code="deadline_exceeded")
    if error.kind == "unavailable":
        return refusal(503, f"{error}: ask again", "upstream_error", {"Retry-After": str(retry_after(error))})
    if error.kind == "refused" and is_too_long(str(error)):
        return refusal(400, str(error), "invalid_request_error", param="messages", code="context_length_exceeded")
    if error.kind == "refused":
        return refusal(400, str(error), "invalid_request_error", param=error.param)
    if error.kind == "filtered":
        return refusal(400, str(error), "invalid_request_error", code="content_filter")
    if error.kind in ("key", "quota", "setting", "other"):
        # Nothing that the client could do otherwise.
        log.error("the LLM cannot be used until somebody mends it (%s): %s", error.kind, error)
    return refusal(502, str(error), "upstream_error")


def retry_after(error: GenerateError) -> int:
    """Return the seconds after which to ask again, as the header says it: at least one."""
    return max(1, math.ceil(getattr(error, "retry_after_s", 1)))


def choices_of(answer: Answer, n: int) -> list[tuple[str, str]]:
    """Return the n best candidates, each with why it ended.

    Where fewer answers differ the best one stands for the others too: samples of an LLM may say the same, and clients
    count on n choices. A method need not tell of candidates.

    Args:
        answer: The method's answer.
        n: Number of choices.
    """
    found = [(candidate.text, candidate.finish) for candidate in answer.candidates[:n]]
    found = found or [(answer.text, answer.finish)]
    return found + [found[0]] * (n - len(found))


def envelope(completion_id: str, model: str, kind: str) -> dict[str, Any]:
    """Return what every response says of itself: its id, kind, time and model."""
    return {"id": completion_id, "object": kind, "created": int(time.time()), "model": model}


def usage_of(answer: Answer) -> dict[str, Any]:
    """Return the tokens of all candidates, as OpenAI tells them."""
    usage = answer.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def _gate(answer: Answer) -> dict[str, Any] | None:
    decision = answer.gate
    if decision is None:
        return None
    return {"answered": decision.answered, "gain": round(decision.gain, 4), "low": round(decision.low, 4)}
