"""OpenAI's chat completions on the wire, and what hydra-ray adds: the `hydra` object."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from hydra_ray.methods import METHODS
from hydra_ray.methods.ports import StepError
from hydra_ray.records import Answer, Message
from hydra_ray.steps.generate import GenerateError
from hydra_ray.tasks import Task
from hydra_ray.tasks.free import ROLES


class TextPart(BaseModel):
    """A text part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    """One turn of the conversation."""

    role: str
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        """The turn's text."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class HydraOptions(BaseModel):
    """What a request may ask of hydra-ray itself; OpenAI's clients send it as `extra_body={"hydra": {...}}`.

    Attributes:
        method: A name of `METHODS`; None means the deployment's own.
    """

    model_config = ConfigDict(extra="forbid")

    method: str | None = None

    @field_validator("method")
    @classmethod
    def _is_known(cls, method: str | None) -> str | None:
        if method is not None and method not in METHODS:
            raise PydanticCustomError("method", f"there is no method {method!r}; there are {', '.join(METHODS)}")
        return method


class ChatCompletionRequest(BaseModel):
    """What of OpenAI's request is used; sampling is set by the deployment, so other fields are accepted and ignored."""

    model_config = ConfigDict(extra="ignore")

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    user: str | None = None
    n: int = Field(1, ge=1, le=64)
    stream: bool = False
    hydra: HydraOptions = HydraOptions()

    @property
    def query(self) -> str | None:
        """The last user message, None when there is none with text."""
        texts = [message.text for message in self.messages if message.role == "user"]
        return texts[-1] if texts and texts[-1].strip() else None

    def turns(self, task: Task) -> tuple[Message, ...]:
        """What was said before the last user message, where it is part of the question.

        Other tasks ask a question that is whole in itself. What a client sent before it (an earlier question, an
        instruction of its own) would stand where the user's history is shown, and be taken for it.

        Raises:
            ValueError: The conversation cannot be continued: it does not end with the user, or has messages of
                tools, which cannot be told without the calls that they answer.
        """
        if not task.conversation:
            return ()
        odd = sorted({message.role for message in self.messages} - set(ROLES))
        if odd:
            raise ValueError(f"messages: there are roles {', '.join(odd)}; a conversation has {', '.join(ROLES)}")
        if self.messages[-1].role != "user":
            raise ValueError("messages: a conversation ends with a message of the user")
        return tuple(Message(message.role, message.text) for message in self.messages[:-1])


def completion(answer: Answer, model: str, n: int, method: str) -> dict[str, Any]:
    """The response: the n best candidates as choices, fewer when there are fewer, and at least the answer itself.

    Args:
        answer: What the method came to.
        model: The name that the client asked for.
        n: Most choices.
        method: The method's name.
    """
    usage = answer.usage
    return {
        **_envelope(answer, model, "chat.completion"),
        "choices": [
            {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "stop", "logprobs": None}
            for i, text in enumerate(_choices(answer, n))
        ],
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        },
        "hydra": about(answer, method),
    }


def stream(answer: Answer, model: str, n: int, method: str) -> Iterator[str]:
    """The same as server-sent events, word by word; the last chunk before the end carries `hydra`."""
    envelope = _envelope(answer, model, "chat.completion.chunk")
    for i, text in enumerate(_choices(answer, n)):
        for j, word in enumerate(text.split(" ")):
            delta = {"content": word if j == 0 else f" {word}"}
            yield _event({**envelope, "choices": [_delta(i, {"role": "assistant", **delta} if j == 0 else delta)]})
        yield _event({**envelope, "choices": [_delta(i, {}, "stop")]})
    yield _event({**envelope, "choices": [], "hydra": about(answer, method)})
    yield "data: [DONE]\n\n"


def about(answer: Answer, method: str) -> dict[str, Any]:
    """How the answer came about."""
    return {
        "method": method,
        "history": [
            {"id": r.item.id, "input": r.item.input, "output": r.item.output, "score": r.score, "fill": r.fill}
            for r in answer.history
        ],
        "candidates": [
            {"text": c.text, "votes": c.votes, "logit": c.logit, "score": c.score} for c in answer.candidates
        ],
        "head": answer.head,
        "degraded": list(answer.degraded),
        "truncated": answer.truncated,
    }


def refusal(status: int, message: str, kind: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error response in OpenAI's form."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": status}}
    return JSONResponse(body, status, headers)


def no_answer(error: GenerateError | StepError) -> JSONResponse:
    """What the client gets where the LLM gave nothing, or a step that the method cannot do without."""
    if isinstance(error, StepError):
        return refusal(503, f"{error}: ask again", "upstream_error", {"Retry-After": "1"})
    if error.kind == "busy":
        return refusal(429, str(error), "rate_limit_error", {"Retry-After": "1"})
    if error.kind == "refused":
        return refusal(400, str(error), "invalid_request_error")
    return refusal(502, str(error), "upstream_error")


def _choices(answer: Answer, n: int) -> list[str]:
    # A method need not tell of candidates, and clients read the first choice.
    return [candidate.text for candidate in answer.candidates[:n]] or [answer.text]


def _envelope(answer: Answer, model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{answer.query_id}", "object": kind, "created": int(time.time()), "model": model}


def _delta(index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"
