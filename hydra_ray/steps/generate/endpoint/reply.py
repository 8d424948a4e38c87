"""Reads a reply: the answers among its choices, without the reasoning that came before them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hydra_ray.records import Usage

_ANY_CASE = re.IGNORECASE | re.DOTALL
_TAG = r"think|thinking|thought|reasoning|seed:think"
_OPENED = re.compile(rf"\s*(?:<({_TAG})\b[^<>]*>|\[(think)\]|◁(think)▷|<\|(begin_of_thought)\|>)", re.IGNORECASE)
# Without an opening tag: chat templates that write it themselves leave the closing one to the LLM.
_CLOSED = re.compile(rf"</(?:{_TAG})\s*>|\[/think\]|◁/think▷", re.IGNORECASE)
# The channels of OpenAI's open models, with their special tokens and without.
_CHANNEL = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>\s*(?:analysis|commentary|final)\b")
_FINAL = re.compile(r"<\|channel\|>\s*final\b.*?<\|message\|>(.*?)(?:<\|(?:end|return|start)\|>|\Z)", re.DOTALL)
_BARE_CHANNEL = re.compile(r"\s*analysis.*?assistantfinal", re.DOTALL)
# Reasons to finish by which an answer was broken off or taken away, in the words of those who have more than OpenAI's.
_BROKEN_OFF = re.compile(
    r"error|abort|cancel|time.?out|timed.?out|unavailable|overload|insufficient.?system.?resource", re.IGNORECASE
)
_TAKEN = re.compile(
    r"content.?filter|safety|sensitive|prohibited|blocklist|recitation|spii|guardrail|moderation|refusal", re.IGNORECASE
)
# Reasons to finish by which there was more to say.
_CUT = ("length", "max_tokens")
# Above it is no count: no LLM reads so much, and several calls together have to go into the 32 bits of a column.
_MOST_TOKENS = 10**8
# Its words are no part of this: messages of errors go into logs, which hold no text of answers.
_DECLINED = ("filtered", "the LLM declined")
REASONING = ("reasoning_content", "reasoning", "reasoning_details", "thinking")

UNFINISHED = (
    "the reasoning did not end within max_tokens: raise generator.reasoning_tokens, or turn reasoning off by "
    "generator.params or generator.extra_body"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """Content of the reply to one request.

    Attributes:
        texts: Answers, in order; choices without one are left out.
        choices: How many choices there were.
        usage: One call, and the tokens that the endpoint tells.
        lost: Kind (a `GenerateError.kind`) and reason for each choice without an answer.
        reasoned: Whether reasoning came with it.
        has_usage: Whether the endpoint told tokens.
        finishes: Why each of the answers ended: "stop" or "length".
        refusal: Words in which the LLM declined, of the first choice in which it did; else "".
    """

    texts: tuple[str, ...]
    choices: int
    usage: Usage
    lost: tuple[tuple[str, str], ...] = ()
    reasoned: bool = False
    has_usage: bool = False
    finishes: tuple[str, ...] = ()
    refusal: str = ""


def read_reply(body: Any) -> Reply:
    """Reads the JSON of a chat completion; nobody has checked that it has OpenAI's shape."""
    choices = body.get("choices") if isinstance(body, dict) else None
    choices = choices if isinstance(choices, list) else []
    texts, finishes, lost, reasoned, declined = [], [], [], False, ""
    for choice in choices:
        text, why, thought = _read_choice(choice if isinstance(choice, dict) else {})
        if why == _DECLINED:
            declined = declined or str(choice["message"]["refusal"])
        reasoned = reasoned or thought
        if text:
            texts.append(text)
            finishes.append("length" if choice.get("finish_reason") in _CUT else "stop")
        else:
            lost.append(why)
    usage = body.get("usage") if isinstance(body, dict) else None
    usage = usage if isinstance(usage, dict) else {}
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    counted = bool(prompt or completion)
    cached = _detail(usage, "prompt_tokens_details", "cached_tokens")
    reasoning = _detail(usage, "completion_tokens_details", "reasoning_tokens")
    # Parts of the whole: some tell more than that.
    spent = Usage(1, prompt, completion, 0, min(cached, prompt), min(reasoning, completion))
    return Reply(tuple(texts), len(choices), spent, tuple(lost), reasoned, counted, tuple(finishes), declined)


def without_reasoning(text: str) -> str | None:
    """The answer that follows the reasoning; None where the reasoning does not end."""
    if _CHANNEL.match(text):
        final = _FINAL.search(text)
        return final[1].strip() if final else None
    if bare := _BARE_CHANNEL.match(text):
        return text[bare.end() :].strip()
    if (closed := _CLOSED.search(text)) and not _OPENED.search(text, 0, closed.start()):
        text = text[closed.end() :]
    tag = ""
    while opened := _OPENED.match(text):
        tag = next(filter(None, opened.groups())).lower()
        text = text[opened.end() :]
        end = _end_of_reasoning(text, tag)
        if end is None:
            return None
        text = text[end:]
    # Who thought before the answer may go on to think within it.
    return (re.sub(_opening(tag) + ".*?" + _closing(tag), "", text, flags=_ANY_CASE) if tag else text).strip()


def _end_of_reasoning(text: str, tag: str) -> int | None:
    """Where the answer begins in what follows an opening tag; None where nothing closes it."""
    closing = re.compile(_closing(tag), _ANY_CASE)
    # Some LLMs close what they opened by another name.
    closed = closing.search(text) or _CLOSED.search(text)
    # Reasoning may hold reasoning.
    while closed and len(re.findall(_opening(tag), text[: closed.start()], _ANY_CASE)) > len(
        closing.findall(text, 0, closed.start())
    ):
        further = closing.search(text, closed.end())
        if further is None:
            break
        closed = further
    return closed.end() if closed else None


def _opening(tag: str) -> str:
    return rf"(?:<{tag}\b[^<>]*>|\[{tag}\]|◁{tag}▷)"


def _closing(tag: str) -> str:
    return rf"(?:</{tag}\s*>|\[/{tag}\]|◁/{tag}▷|<\|end_of_thought\|>)"


def _read_choice(choice: dict[str, Any]) -> tuple[str, tuple[str, str], bool]:
    """The answer ("" where there is none), why there is none, and whether there was reasoning."""
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    finish = str(choice.get("finish_reason") or "")
    content = message.get("content")
    said = "".join(_parts(content)) if isinstance(content, list) else content
    thought = any(message.get(name) for name in REASONING) or (isinstance(content, list) and said != _all(content))
    if _TAKEN.search(finish):
        return "", ("filtered", f"the endpoint's content filter took the answer (finish_reason {finish})"), thought
    if failed := _failed(choice, finish):
        return "", ("server", f"the endpoint failed at this answer: {failed}"), thought
    if isinstance(said, str):
        # Half of a surrogate pair is valid in JSON, and nowhere that texts go from here.
        said = said.encode(errors="replace").decode()
        answer = without_reasoning(said)
        thought = thought or answer is None or answer != said.strip()
        if answer:
            return answer, ("", ""), thought
    elif (said is not None or "content" not in message) and not message.get("refusal"):
        # A reply of another shape was hardly an LLM's.
        return "", ("malformed", ""), thought
    if message.get("refusal"):
        return "", _DECLINED, thought
    if thought:
        ended = finish not in _CUT and (answer is not None if isinstance(said, str) else True)
        return "", ("empty", "there was reasoning and no answer" if ended else UNFINISHED), thought
    return "", ("empty", "nothing was said within max_tokens" if finish in _CUT else ""), thought


def _failed(choice: dict[str, Any], finish: str) -> str:
    """Why a choice was broken off; "" where it was not. Half an answer is none."""
    if error := choice.get("error"):
        return str(error)
    return f"it does not say why (finish_reason {finish})" if _BROKEN_OFF.search(finish) else ""


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
    """Return the texts of the parts, joined; None where a part is no text."""
    kinds = {part.get("type", "text") if isinstance(part, dict) else "text" for part in content}
    return None if kinds - {"text", "output_text"} else "".join(_parts(content))


def _detail(usage: dict[str, Any], of_what: str, name: str) -> int:
    details = usage.get(of_what)
    return _count(details.get(name)) if isinstance(details, dict) else 0


def _count(tokens: object) -> int:
    return tokens if isinstance(tokens, int) and 0 < tokens < _MOST_TOKENS else 0
