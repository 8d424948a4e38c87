"""OpenAI's chat completion requests: what of one is used, what is refused, and what is ignored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from hydra_ray.methods import METHODS, Recipe, needs_reranker
from hydra_ray.records import Message
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.messages import ChatMessage, Lenient
from hydra_ray.serve.http.sampling import SamplingParameters
from hydra_ray.settings import ServeSettings
from hydra_ray.tasks import Task
from hydra_ray.tasks.free import ROLES

# The method of requests that the LLM gets as they are.
PASSTHROUGH = "passthrough"
_INSTRUCTING = ("system", "developer")

# Parameters that the LLM alone can follow, what they ask for, and the values with which they ask for nothing.
_OF_THE_LLM: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "tools": ("tools", lambda value: value == []),
    "tool_choice": ("tools", lambda value: value in ("none", "auto")),
    "functions": ("tools", lambda value: value == []),
    "function_call": ("tools", lambda value: value in ("none", "auto")),
    "logprobs": ("probabilities of tokens", lambda value: value is False),
    "top_logprobs": ("probabilities of tokens", lambda value: value == 0),
    "modalities": ("an answer that is more than text", lambda value: value in ([], ["text"])),
    "audio": ("an answer that is more than text", lambda value: False),
    "web_search_options": ("a search of the web", lambda value: False),
}


class StreamOptions(Lenient):
    """Options of a streamed answer.

    Attributes:
        include_usage: Whether a chunk with the usage comes before the end.
    """

    model_config = ConfigDict(extra="allow")

    include_usage: bool = Field(False, strict=True)


class HydraOptions(BaseModel):
    """Options of hydra-ray itself; OpenAI's clients send them as `extra_body={"hydra": {...}}`.

    Attributes:
        method: A name of `METHODS`, or "passthrough"; None means the deployment's own.
    """

    model_config = ConfigDict(extra="forbid")

    method: str | None = None

    @field_validator("method")
    @classmethod
    def _is_known(cls, method: str | None) -> str | None:
        known = (*METHODS, PASSTHROUGH)
        if method is not None and method not in known:
            raise PydanticCustomError("method", f"there is no method {method!r}; there are {', '.join(known)}")
        return method


class ChatCompletionRequest(SamplingParameters):
    """OpenAI's request; what is not known of it is accepted and ignored.

    What may name the user is checked where it does (`callers.py`).
    """

    model_config = ConfigDict(extra="allow")

    model: str
    # One error a request: a long list would else have as many as it has items.
    messages: list[ChatMessage] = Field(min_length=1, fail_fast=True)
    user: Any = None
    safety_identifier: Any = None
    metadata: Any = None
    stream: bool = Field(False, strict=True)
    stream_options: StreamOptions | None = None
    hydra: HydraOptions = HydraOptions()

    @property
    def query(self) -> str:
        """The last user message.

        Raises:
            RequestError: There is none with text.
        """
        return self.messages[self._asking].text

    @property
    def last_text(self) -> str:
        """The text of the last message in which a user says something; "" where none does."""
        texts = [message.text for message in self.messages if message.role == "user" and message.text.strip()]
        return texts[-1] if texts else ""

    @property
    def own_text(self) -> str:
        """The text that is all of what a user asks, results of tools aside; "" where there is more to it.

        What was asked with an image, say, now or before, is not known by its text, and an answer that was begun by the
        client is not all that was answered.
        """
        said = [message for message in self.messages if message.role not in _INSTRUCTING]
        asking = [message for message in said if message.role == "user"]
        if not asking or said[-1].role == "assistant" or any(any(message.beyond_text) for message in asking):
            return ""
        return asking[-1].text.strip() and asking[-1].text

    @property
    def include_usage(self) -> bool:
        """Whether the stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def refuse_unsupported(self, recipe: Recipe, *, passes: bool) -> None:
        """Refuses what would change the shape of the answer.

        Args:
            recipe: The numbers of the method.
            passes: Whether the LLM gets as it is what the method cannot answer.

        Raises:
            RequestError: Names the parameter.
        """
        if self.stream_options is not None and not self.stream:
            raise RequestError("stream_options: these are for stream: true only", "stream_options")
        if self.hydra.method == PASSTHROUGH and not passes:
            message = "hydra.method: nothing is passed through here (serve.passthrough.enabled, generator.backend)"
            raise RequestError(message, "hydra.method", "unsupported_parameter")
        if self.hydra.method is not None and needs_reranker(self.hydra.method) and not recipe.rerank:
            message = "hydra.method: there is no reranker here (method.rerank)"
            raise RequestError(message, "hydra.method", "unsupported_parameter")
        reasons = reasons_to_pass_through(self, recipe)
        if passes and (reasons or self.hydra.method == PASSTHROUGH):
            return
        for reason in reasons:
            param = reason.partition(":")[0]
            raise RequestError(
                f"{reason}: only the LLM can answer this, and nothing is passed through here",
                param,
                "unsupported_parameter",
            )

    def asks(self, name: str, is_nothing: Callable[[Any], bool]) -> bool:
        """Whether a parameter was sent with a value that asks for something."""
        return name in self._more and not is_nothing(self._more[name])

    def turns(self, task: Task, tell_system: bool) -> tuple[Message, ...]:
        """Return the turns before the last user message, as far as the LLM is told them.

        For a conversation that is all of it. Other tasks ask a question that is whole in itself. What a client sent
        before it (an earlier question, an answer) would stand where the user's history is shown, and be taken for it;
        instructions of the client's own are told where the operator says so.

        Args:
            task: Task of the query.
            tell_system: Whether the LLM is told a client's instructions whatever the task.
        """
        shown = (self.messages[place] for place in self._shown(task, tell_system))
        return tuple(Message(message.role, message.text) for message in shown)

    def ignored(self, task: Task, serve: ServeSettings, not_told: Sequence[str] = ()) -> tuple[str, ...]:
        """Return the parameters that were sent and change nothing, and the messages that the LLM is not told.

        Args:
            task: Task of the query.
            serve: Settings that say what names the user, what the LLM is told and whose sampling counts.
            not_told: Parameters that the LLM was not told, or does not know.
        """
        naming = {source.partition(".")[0] for source in serve.user_from}
        found: list[str] = [
            name for name in ("user", "safety_identifier", "metadata") if name in self.model_fields_set - naming
        ]
        found += self.without_effect(serve, not_told)
        found += [name for name in self._more if name not in _OF_THE_LLM]
        if self.stream_options is not None:
            found += [f"stream_options.{name}" for name in self.stream_options.model_extra or ()]
        shown = {*self._shown(task, serve.tell_system), self._asking}
        for place, message in enumerate(self.messages):
            if place not in shown:
                found.append(f"messages[{place}] ({message.role})")
            else:
                # Clients send back an assistant's message as they got it, with empty lists in it.
                found += [f"messages[{place}].{name}" for name, value in (message.model_extra or {}).items() if value]
        return tuple(found)

    def _shown(self, task: Task, tell_system: bool) -> list[int]:
        """Return the places of the messages beside the user's last that the LLM is told; blank ones say nothing."""
        roles = ROLES if task.conversation else _INSTRUCTING if tell_system else ()
        asking = self._asking
        # What instructs may follow the question, too.
        said = [(place, message) for place, message in enumerate(self.messages) if message.text.strip()]
        before = [place for place, message in said if place < asking and message.role in roles]
        return before + [
            place for place, message in said if place > asking and message.role in {*roles} & {*_INSTRUCTING}
        ]

    @property
    def _asking(self) -> int:
        """Place of the last user message."""
        places = [place for place, message in enumerate(self.messages) if message.role == "user"]
        if not places or not self.messages[places[-1]].text.strip():
            raise RequestError("messages: there is no user message with text", "messages")
        return places[-1]

    @property
    def _more(self) -> dict[str, Any]:
        return self.model_extra or {}


def reasons_to_pass_through(asked: ChatCompletionRequest, recipe: Recipe) -> tuple[str, ...]:
    """Return why personal choice cannot serve a request, so that the LLM has to answer it as it is.

    Args:
        asked: The request.
        recipe: The numbers of the method; it gives at most as many candidates as they say.

    Returns:
        A line each, which begins with the parameter, e.g. `messages[2].content[0]: no text but image_url`; none where
        there is nothing in the way. Of alike places in messages the first one stands for all.
    """
    reasons = [f"{name}: {what}" for name, (what, is_nothing) in _OF_THE_LLM.items() if asked.asks(name, is_nothing)]
    if asked.n > recipe.candidates:
        reasons.append(f"n: {asked.n} is more than the {recipe.candidates} candidates")
    in_messages: dict[str, str] = {}
    for place, message in enumerate(asked.messages):
        for where, what in message.beyond_text:
            in_messages.setdefault(what, f"messages[{place}].{where}: {what}")
    reasons += in_messages.values()
    asking = [message for message in asked.messages if message.role not in _INSTRUCTING][-1:]
    if not asking or asking[0].role != "user":
        reasons.append("messages: they do not end with what a user asks")
    elif not asking[0].text.strip():
        reasons.append("messages: the last one of the user has no text")
    return tuple(reasons)
