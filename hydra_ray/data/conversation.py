"""Reads what was asked, said before and preferred in one conversation, in the layouts that people keep them in.

Besides {messages, output | accepted | edited} there are OpenAI's files for fine-tuning (the last message is the
assistant's, or {input: {messages}, preferred_output, non_preferred_output}) and Hugging Face's preferences ({prompt,
chosen, rejected}). Any layout may name the answer that the user would not have.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hydra_ray.data.dataset import LeftOut
from hydra_ray.data.errors import RecordError, shown
from hydra_ray.data.fields import Fields, Layout
from hydra_ray.records import Message
from hydra_ray.tasks.free import ROLES

# What the user preferred: an answer of their own, one that they took, one that they changed.
_OUTPUTS = ("output", "accepted", "edited")
_PREFERRED = {"preferred_output": "input", "chosen": "prompt"}
# What the user would not have in its place.
_REJECTED = ("rejected", "non_preferred_output")
CHATS = Layout(
    'Records need "user_id", "messages" that end with what the user said, and one of "output", "accepted" and '
    '"edited"; or "messages" that end with the answer.',
    ("user_id", "messages", *_OUTPUTS, *_PREFERRED, *_PREFERRED.values(), *_REJECTED, "id", "ts", "item_id"),
    ("user_id",),
)
_NEEDS = 'Messages need "role" and "content".'
_TOOL_ROLES = ("tool", "function")
_CALLS = ("tool_calls", "function_call")
_TEXT_PARTS = ("text", "input_text", "output_text")


class Conversation(NamedTuple):
    """One exchange: what was said before, what the user said last, the answer that was preferred, and to which."""

    turns: tuple[Message, ...]
    last: str
    answer: str
    rejected: str | None


class _Turn(NamedTuple):
    """One message as an LLM without tools reads it; `names` is whether it has any content."""

    message: Message
    calls: bool
    names: bool


def conversation(fields: Fields, left_out: LeftOut) -> Conversation:
    """Reads one record.

    The LLM that is asked has no tools and reads text: calls of tools and what tools said are left out of the turns, and
    so are parts of messages that are no text. Both are counted in `left_out`, not as faults.

    Raises:
        RecordError: The conversation has no last message of the user, or not exactly one answer.
    """
    asked, preferred = _layout(fields)
    dropped: set[str] = set()
    turns = _turns(asked, dropped)
    answers = {name: _answer(fields, name, dropped) for name in preferred if fields.value(name) is not None}
    if len(answers) > 1:
        names = " and ".join(f'"{name}"' for name in answers)
        raise fields.error(f"has {names} of the fields that hold the answer. {fields.needs}")
    last = max((number for number, turn in enumerate(turns) if turn.message.role == "user"), default=-1)
    if last < 0 or not turns[last].message.content.strip():
        raise fields.error(f'has "messages" without a last one of the user with text. {fields.needs}')
    rest = turns[last + 1 :]
    if any(turn.message.role != "assistant" for turn in rest):
        raise fields.error(f'has "messages" that end with neither the user nor the assistant. {fields.needs}')
    said = [turn.message.content for turn in rest if not turn.calls]
    if not answers and not said:
        raise fields.error(f"has none of the fields that hold the answer. {fields.needs}")
    answer = next(iter(answers.values())) if answers else said[-1]
    if not answer.strip():
        raise fields.error(f"has an answer without text. {fields.needs}")
    if "output" in answers and said and answer.strip() != said[-1].strip():
        raise fields.error(
            'has an "output" beside "messages" that end with another answer. Leave the one that the user preferred.'
        )
    if any(turn.message.content.strip() not in ("", answer.strip()) for turn in rest):
        # A draft that was edited, or what the assistant said on its way to the answer.
        dropped.add("text of the assistant before the answer not told")
    rejected = _rejected(fields, answer, dropped)
    for reason in sorted(dropped):
        left_out.note(reason, fields.place)
    before = tuple(turn.message for turn in turns[:last] if turn.names)
    return Conversation(before, turns[last].message.content, answer, rejected)


def _layout(fields: Fields) -> tuple[Fields, tuple[str, ...]]:
    """The record's part that holds the messages, as `messages`, and names of the fields that may hold the answer."""
    if fields.value("messages") is not None:
        return fields, _OUTPUTS
    for preferred, asked in _PREFERRED.items():
        if fields.value(preferred) is None:
            continue
        given = fields.value(asked)
        if isinstance(given, dict):
            return Fields.of(given, f'{fields.place}: "{asked}"', CHATS.needs), (preferred,)
        if isinstance(given, str):
            given = [{"role": "user", "content": given}]
        elif given is None:
            # The prompt is in the chosen conversation, which ends with the answer.
            return _with_messages(fields, fields.rows(preferred)), ()
        return _with_messages(fields, given), (preferred,)
    return fields, _OUTPUTS


def _with_messages(fields: Fields, messages: Any) -> Fields:
    return Fields({"messages": messages}, fields.place, fields.needs)


def _turns(fields: Fields, dropped: set[str]) -> list[_Turn]:
    """The messages of a conversation that are told; `dropped` takes what is left out of them."""
    turns = []
    for number, value in enumerate(fields.rows("messages"), 1):
        message = Fields.of(value, f"{fields.place}: message {number}", _NEEDS)
        role = message.text("role")
        calls = any(message.value(name) for name in _CALLS)
        if calls or role in _TOOL_ROLES:
            dropped.add("calls of tools not told")
        if role in _TOOL_ROLES:
            continue
        if role not in ROLES:
            raise message.error(
                f'has the role "{shown(role)}". Roles are {", ".join((*ROLES, *_TOOL_ROLES))}.', "has an unknown role"
            )
        content = _content(message, dropped, may_lack=calls)
        # What the user said without words is kept until it is known not to be the question.
        if content is not None or role == "user":
            turns.append(_Turn(Message(role, content or ""), calls, names=content is not None))
    return turns


def _content(message: Fields, dropped: set[str], may_lack: bool) -> str | None:
    """A message's text; None where there is none and need not be: calls of tools, nothing but pictures."""
    content = message.value("content")
    if content is None and may_lack:
        return None
    if not isinstance(content, list):
        return message.text("content")
    texts = []
    for number, value in enumerate(content, 1):
        part = Fields.of(value, f"{message.place}: part {number}", 'Parts need "type", those of text also "text".')
        kind = part.text("type")
        if kind in _TEXT_PARTS:
            texts.append(part.text("text"))
        else:
            dropped.add(f'parts "{shown(kind)}" of messages not told')
    # As requests to the server are read.
    return "".join(texts) if texts or not content else None


def _answer(fields: Fields, name: str, dropped: set[str]) -> str:
    """An answer that is text, a message, or a list of messages of which the assistant's last one counts."""
    value = fields.value(name)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return fields.text(name)
    place = f'{fields.place}: "{name}"'
    said = _turns(Fields({"messages": value}, place, _NEEDS), dropped)
    texts = [turn.message.content for turn in said if turn.message.role == "assistant" and not turn.calls]
    if not texts:
        raise fields.error(f'has no message of the assistant in "{name}". {fields.needs}')
    return texts[-1]


def _rejected(fields: Fields, answer: str, dropped: set[str]) -> str | None:
    """The answer that the user would not have; None where there is none, or none that tells anything.

    One that cannot be read is no fault of the record: what the user preferred teaches without it.
    """
    name = next((name for name in _REJECTED if fields.value(name) is not None), None)
    if name is None:
        return None
    try:
        text = _answer(fields, name, set())
    except RecordError:
        text = ""
    if not text.strip():
        dropped.add("rejected answer without text not used")
        return None
    if text.strip() == answer.strip():
        dropped.add("rejected answer that is the preferred one not used")
        return None
    return text
