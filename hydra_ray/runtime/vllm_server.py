"""The deployment class that hosts vLLM; importing it imports vLLM."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from jinja2 import TemplateError
from pydantic import ValidationError
from ray.serve.llm.deployment import LLMServer
from ray.serve.llm.openai_api_models import ChatCompletionRequest
from vllm.exceptions import VLLMClientError

log = logging.getLogger(__name__)

Body = dict[str, Any]

_EVENT, _DONE = "data:", "[DONE]"
# What vLLM raises where parts of messages, which it reads late, are none that it or the model's template knows.
_UNREADABLE = (TypeError, KeyError, OverflowError, NotImplementedError, TemplateError)


class EngineServer(LLMServer):
    """Speaks plain values, so that callers need no vLLM: dictionaries of OpenAI's chat completions in and out."""

    async def complete(self, body: Body) -> Body:
        """A whole chat completion; a request that vLLM refuses gives `{"error": {...}}`."""
        async with aclosing(self._parts(body)) as parts:
            async for part in parts:
                return part if isinstance(part, dict) else part.model_dump()
        raise RuntimeError("vLLM gave no reply")

    async def stream(self, body: Body) -> AsyncGenerator[Body]:
        """Yields the chunks of a chat completion as vLLM makes them, or an error; closed, it stops vLLM's work."""
        async with aclosing(self._parts(body)) as parts:
            async for part in parts:
                if isinstance(part, str):
                    for chunk in _chunks(part):
                        yield chunk
                else:
                    yield part if isinstance(part, dict) else part.model_dump()

    async def _parts(self, body: Body) -> AsyncGenerator[Any]:
        """vLLM's reply: one object, or server-sent events; a dictionary is an error."""
        request = self._request(body)
        if isinstance(request, dict):
            yield request
            return
        has_begun = False
        try:
            # vLLM's own generators stop the engine's work for a request when they are closed.
            async with aclosing(await self.chat(request)) as replies:
                async for reply in replies:
                    # Events come in batches (`stream_batching_interval_ms`).
                    for part in reply if isinstance(reply, list) else (reply,):
                        has_begun = True
                        yield part
        except _UNREADABLE as error:
            if has_begun:
                # The request was read: it is a fault of vLLM's.
                raise
            # The error itself may hold what a user wrote.
            log.warning("vLLM could not read a request (%s)", type(error).__name__)
            yield _refusal(f"the request cannot be read: {type(error).__name__}: {error}", None)

    def _request(self, body: Body) -> ChatCompletionRequest | Body:
        """The request in vLLM's terms, or why it is none."""
        # An id of its own: vLLM would name all that one of our requests asks, and its answers, by that request's.
        ours = {"model": self._llm_config.model_id, "request_id": uuid4().hex}
        try:
            return ChatCompletionRequest(**{**body, **ours})
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            place = _place(body, first["loc"], first["type"] == "missing")
            return _refusal(f"{place}: {first['msg']}" if place else first["msg"], place or None)
        except VLLMClientError as error:
            return _refusal(str(error), getattr(error, "parameter", None))


def _refusal(message: str, param: str | None) -> Body:
    return {"error": {"message": message, "type": "BadRequestError", "param": param, "code": 400}}


def _chunks(events: str) -> Iterator[Body]:
    """The chunks in server-sent events."""
    # Not splitlines: a text may hold signs that end lines elsewhere.
    for line in events.split("\n"):
        data = line.removeprefix(_EVENT).strip()
        if line.startswith(_EVENT) and data != _DONE:
            yield json.loads(data)


def _place(body: Any, location: Sequence[str | int], is_missing: bool) -> str:
    """Where in a body pydantic found a fault, e.g. `tools[0].type`, without its own names of types and unions."""
    place, last = "", len(location) - 1
    for i, part in enumerate(location):
        if isinstance(body, list) and isinstance(part, int) and part < len(body):
            place, body = f"{place}[{part}]", body[part]
        elif isinstance(body, dict) and part in body:
            place, body = f"{place}.{part}", body[part]
        elif is_missing and i == last:
            place = f"{place}.{part}"
    return place.removeprefix(".")
