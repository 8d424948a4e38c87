"""Messages of a chat completion request, as OpenAI has them: text, images, sound, calls of tools and their results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hydra_ray.tasks.free import ROLES

OF_TOOLS = ("tool", "function")
_PART_KINDS = ("text", "refusal", "image_url", "input_audio", "file", "audio_url", "video_url")
_IN_PLACE_OF_CONTENT = ("tool_calls", "function_call", "audio", "refusal")


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
    """A part of a message. Texts are read here; what else there is the LLM alone can read.

    Attributes:
        type: OpenAI's name of what it is.
        text: The text of a part of type text.
        refusal: Text by which an assistant refused.
    """

    model_config = ConfigDict(extra="allow")

    type: str
    text: Text = ""
    refusal: Text = ""

    @field_validator("type")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in _PART_KINDS:
            raise PydanticCustomError("part", f"there is no part of type {kind!r}; there are {', '.join(_PART_KINDS)}")
        return kind

    @property
    def is_text(self) -> bool:
        """Whether it is told in words."""
        return self.type in ("text", "refusal")


class ChatMessage(Lenient):
    """One turn of the conversation.

    Attributes:
        role: Who speaks.
        tool_calls: Calls of tools by an assistant.
        function_call: A call of a function by an assistant, as it was written before there were tools.
        audio: Sound of an assistant.
        refusal: Text by which an assistant refused.
        content: Parts of what is said; a text is one part.
    """

    model_config = ConfigDict(extra="allow")

    role: str
    tool_calls: Any = None
    function_call: Any = None
    audio: Any = None
    refusal: Text = ""
    # After what may stand in its place.
    content: list[Part] = Field([], fail_fast=True, validate_default=True)

    @field_validator("role")
    @classmethod
    def _is_known(cls, role: str) -> str:
        if role not in (*ROLES, *OF_TOOLS):
            raise PydanticCustomError("role", f"there is no role {role!r}; there are {', '.join((*ROLES, *OF_TOOLS))}")
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _as_parts(cls, content: Any, info: ValidationInfo) -> Any:
        if isinstance(content, str):
            return [{"type": "text", "text": _whole(content)}]
        if not isinstance(content, list):
            raise PydanticCustomError("content", "text or a list of parts is wanted")
        if not content and not any(info.data.get(name) for name in _IN_PLACE_OF_CONTENT):
            raise PydanticCustomError("content", "there is none: text or a list of at least one part is wanted")
        return content

    @property
    def text(self) -> str:
        """The turn's text."""
        return "".join(part.text or part.refusal for part in self.content) or self.refusal

    @property
    def beyond_text(self) -> Iterator[tuple[str, str]]:
        """Yield what of the turn is no text: its place in the message, and what it is."""
        if self.role in OF_TOOLS:
            yield "role", f"the result of a {self.role}"
        if self.tool_calls or self.function_call:
            yield "tool_calls" if self.tool_calls else "function_call", "the call of a tool"
        if self.audio:
            yield "audio", "sound"
        for i, part in enumerate(self.content):
            if not part.is_text:
                yield f"content[{i}]", f"no text but {part.type}"
