"""OpenAI's chat completion requests: what of one is used, what is refused, and what is ignored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hydra_ray.methods import METHODS
from hydra_ray.records import Message
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.tasks import Task
from hydra_ray.tasks.free import ROLES

_INSTRUCTING = ("system", "developer")
_OF_TOOLS = ("tool", "function")

# Parameters that change what an answer looks like, and the values with which they change nothing.
_SHAPING: dict[str, Callable[[Any], bool]] = {
    "response_format": lambda value: isinstance(value, dict) and value.get("type") == "text",
    "tools": lambda value: value == [],
    "tool_choice": lambda value: value in ("none", "auto"),
    "functions": lambda value: value == [],
    "function_call": lambda value: value in ("none", "auto"),
    "logprobs": lambda value: value is False,
    "top_logprobs": lambda value: value == 0,
    "modalities": lambda value: value in ([], ["text"]),
    "audio": lambda value: False,
}


class Lenient(BaseModel):
    """A body in which a parameter that is null is one that was not sent."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, body: Any) -> Any:
        return {key: value for key, value in body.items() if value is not None} if isinstance(body, dict) else body


def _whole(text: str) -> str:
    # JSON can hold what no tokenizer takes.
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        raise PydanticCustomError("signs", "holds half a surrogate pair")
    return text


Text = Annotated[str, AfterValidator(_whole)]


class Part(Lenient):
    """A part of a message: text, or an assistant's refusal."""

    type: str
    text: Text = ""
    refusal: Text = ""

    @field_validator("type")
    @classmethod
    def _is_text(cls, kind: str) -> str:
        if kind not in ("text", "refusal"):
            raise PydanticCustomError("part", f"parts of type {kind!r} are not supported, only text")
        return kind


class ChatMessage(Lenient):
    """One turn of the conversation."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: list[Part] = Field([], fail_fast=True)

    @field_validator("role")
    @classmethod
    def _is_known(cls, role: str) -> str:
        if role not in (*ROLES, *_OF_TOOLS):
            raise PydanticCustomError("role", f"there is no role {role!r}; there are {', '.join((*ROLES, *_OF_TOOLS))}")
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _as_parts(cls, content: Any) -> Any:
        if not isinstance(content, str | list):
            raise PydanticCustomError("content", "text or a list of parts is wanted")
        return [{"type": "text", "text": _whole(content)}] if isinstance(content, str) else content

    @property
    def text(self) -> str:
        """The turn's text."""
        return "".join(part.text or part.refusal for part in self.content)


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


class ChatCompletionRequest(Lenient):
    """OpenAI's request; sampling is set by the deployment, so what else a client sends is accepted and ignored.

    What may name the user is checked where it does (`callers.py`).
    """

    model_config = ConfigDict(extra="allow")

    model: str
    # One error a request: a long list would else have as many as it has items.
    messages: list[ChatMessage] = Field(min_length=1, fail_fast=True)
    user: Any = None
    safety_identifier: Any = None
    metadata: Any = None
    n: int = Field(1, ge=1, le=64, strict=True)
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
    def include_usage(self) -> bool:
        """Whether the stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def refuse_unsupported(self) -> None:
        """Refuses what would change the shape of the answer.

        Raises:
            RequestError: Names the parameter.
        """
        for name, changes_nothing in _SHAPING.items():
            if name in self._more and not changes_nothing(self._more[name]):
                raise RequestError(f"{name}: this is not supported yet; leave it out", name, "unsupported_parameter")
        if self.stream_options is not None and not self.stream:
            raise RequestError("stream_options: these are for stream: true only", "stream_options")

    def turns(self, task: Task, tell_system: bool) -> tuple[Message, ...]:
        """Return the turns before the last user message, as far as the LLM is told them.

        For a conversation that is all of it. Other tasks ask a question that is whole in itself. What a client sent
        before it (an earlier question, an answer) would stand where the user's history is shown, and be taken for it;
        instructions of the client's own are told where the operator says so.

        Args:
            task: Task of the query.
            tell_system: Whether the LLM is told a client's instructions whatever the task.

        Raises:
            RequestError: The conversation cannot be continued: it does not end with the user, or has messages of
                tools, which cannot be told without the calls that they answer.
        """
        if task.conversation:
            for place, message in enumerate(self.messages):
                if message.role in _OF_TOOLS:
                    param = f"messages[{place}].role"
                    raise RequestError(f"{param}: a conversation has {', '.join(ROLES)}, not {message.role}", param)
            if self.messages[-1].role != "user":
                raise RequestError("messages: a conversation ends with a message of the user", "messages")
        shown = (self.messages[place] for place in self._shown(task, tell_system))
        return tuple(Message(message.role, message.text) for message in shown)

    def ignored(self, task: Task, tell_system: bool, sources: Sequence[str]) -> tuple[str, ...]:
        """Return the parameters that were sent and change nothing, and the messages that the LLM is not told.

        Args:
            task: Task of the query.
            tell_system: Whether system messages are told to the LLM for tasks other than chat, too.
            sources: Places of the request that may name the user, in the words of `serve.user_from`.
        """
        naming = {source.partition(".")[0] for source in sources}
        found: list[str] = [
            name for name in ("user", "safety_identifier", "metadata") if name in self.model_fields_set - naming
        ]
        found += [name for name in self._more if name not in _SHAPING]
        if self.stream_options is not None:
            found += [f"stream_options.{name}" for name in self.stream_options.model_extra or ()]
        shown = {*self._shown(task, tell_system), self._asking}
        for place, message in enumerate(self.messages):
            if place not in shown:
                found.append(f"messages[{place}] ({message.role})")
            else:
                # Clients send back an assistant's message as they got it, with empty lists in it.
                found += [f"messages[{place}].{name}" for name, value in (message.model_extra or {}).items() if value]
        return tuple(found)

    def _shown(self, task: Task, tell_system: bool) -> list[int]:
        """Return the places of the messages before the user's last that the LLM is told; blank ones say nothing."""
        roles = ROLES if task.conversation else _INSTRUCTING if tell_system else ()
        before = enumerate(self.messages[: self._asking])
        return [place for place, message in before if message.role in roles and message.text.strip()]

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
