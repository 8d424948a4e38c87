"""What a reply says: the answers among its choices, without the reasoning that came before them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hydra_ray.records import Usage

_TAG = r"think|thinking|thought|reasoning|seed:think"
_OPENED = re.compile(rf"\s*(?:<({_TAG})\b[^<>]*>|\[(think)\]|◁(think)▷|<\|(begin_of_thought)\|>)", re.IGNORECASE)
# Without an opening tag: chat templates that write it themselves leave the closing one to the LLM.
_CLOSED = re.compile(rf"</(?:{_TAG})\s*>|\[/think\]|◁/think▷", re.IGNORECASE)
# The channels of OpenAI's open models, with their special tokens and without.
_CHANNEL = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>\s*(?:analysis|commentary|final)\b")
_FINAL = re.compile(r"<\|channel\|>\s*final\b.*?<\|message\|>(.*?)(?:<\|(?:end|return|start)\|>|\Z)", re.DOTALL)
_BARE_CHANNEL = re.compile(r"\s*analysis.*?assistantfinal", re.DOTALL)
_REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking")

UNFINISHED = (
    "the reasoning did not end within max_tokens: raise generator.reasoning_tokens, or turn reasoning off by "
    "generator.params or generator.extra_body"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of one request.

    Attributes:
        texts: Answers, in order; choices without one are left out.
        choices: How many choices there were.
        usage: One call, and the tokens that the endpoint tells.
        lost: Kind (a `GenerateError.kind`) and reason for each choice without an answer.
        reasoned: Whether reasoning came with it.
        told_usage: Whether the endpoint told tokens.
    """

    texts: tuple[str, ...]
    choices: int
    usage: Usage
    lost: tuple[tuple[str, str], ...] = ()
    reasoned: bool = False
    told_usage: bool = False


def read_reply(body: Any) -> Reply:
    """Reads the JSON of a chat completion; nobody has checked that it has OpenAI's shape."""
    choices = body.get("choices") if isinstance(body, dict) else None
    choices = choices if isinstance(choices, list) else []
    texts, lost, reasoned = [], [], False
    for choice in choices:
        text, why, thought = _read_choice(choice if isinstance(choice, dict) else {})
        reasoned = reasoned or thought
        if text:
            texts.append(text)
        else:
            lost.append(why)
    usage = body.get("usage") if isinstance(body, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    told = bool(prompt or completion)
    return Reply(tuple(texts), len(choices), Usage(1, prompt, completion), tuple(lost), reasoned, told)


def without_reasoning(text: str) -> str | None:
    """The answer that follows the reasoning; None where the reasoning does not end."""
    if _CHANNEL.match(text):
        final = _FINAL.search(text)
        return final[1].strip() if final else None
    if bare := _BARE_CHANNEL.match(text):
        return text[bare.end() :].strip()
    if (closed := _CLOSED.search(text)) and not _OPENED.search(text, 0, closed.start()):
        text = text[closed.end() :]
    while opened := _OPENED.match(text):
        tag = next(filter(None, opened.groups())).lower()
        closing = re.compile(_closing(tag), re.IGNORECASE).search(text, opened.end())
        if closing is None:
            return None
        text = text[closing.end() :]
    return text.strip()


def _closing(tag: str) -> str:
    return rf"</{tag}\s*>|\[/{tag}\]|◁/{tag}▷|<\|end_of_thought\|>"


def _read_choice(choice: dict[str, Any]) -> tuple[str, tuple[str, str], bool]:
    """The answer ("" where there is none), why there is none, and whether there was reasoning."""
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    finish = str(choice.get("finish_reason") or "")
    content = message.get("content")
    said = "".join(_parts(content)) if isinstance(content, list) else content
    thought = any(message.get(name) for name in _REASONING) or (isinstance(content, list) and said != _all(content))
    if finish == "content_filter":
        return "", ("filtered", "the endpoint's content filter took the answer (finish_reason content_filter)"), thought
    if isinstance(said, str):
        # Half of a surrogate pair is valid in JSON, and nowhere that texts go from here.
        said = said.encode(errors="replace").decode()
        answer = without_reasoning(said)
        thought = thought or answer is None or answer != said.strip()
        if answer:
            return answer, ("", ""), thought
    elif said is not None or "content" not in message:
        # A reply of another shape was hardly an LLM's.
        error = choice.get("error") or message.get("refusal")
        if not error:
            return "", ("malformed", ""), thought
    if refusal := message.get("refusal"):
        return "", ("filtered", f"the LLM declined: {refusal}"), thought
    if finish == "error" or choice.get("error"):
        return (
            "",
            ("server", f"the endpoint failed at this answer: {choice.get('error') or 'it does not say why'}"),
            thought,
        )
    if thought:
        ended = finish not in ("length", "max_tokens") and (answer is not None if isinstance(said, str) else True)
        return "", ("empty", "there was reasoning and no answer" if ended else UNFINISHED), thought
    return "", ("empty", "nothing was said within max_tokens" if finish in ("length", "max_tokens") else ""), thought


def _parts(content: list[Any]) -> Iterator[str]:
    """Texts of a content's parts; thinking is no part of an answer."""
    for part in content:
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict) and part.get("type", "text") in ("text", "output_text"):
            text = part.get("text")
            text = text.get("value") if isinstance(text, dict) else text
            if isinstance(text, str):
                yield text


def _all(content: list[Any]) -> str | None:
    """As the texts of the parts, where all of them are such; None where others are among them."""
    kinds = {part.get("type", "text") if isinstance(part, dict) else "text" for part in content}
    return None if kinds - {"text", "output_text"} else "".join(_parts(content))


def _count(tokens: object) -> int:
    return tokens if isinstance(tokens, int) and tokens > 0 else 0
