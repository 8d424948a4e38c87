"""Reads an endpoint's refusals: the reason in its own words, and what kind of refusal that is."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Where servers put what they say to people, most telling first.
_SAYING = (
    *("message", "msg", "error", "errors", "detail", "error_message", "errormessage", "error_msg"),
    *("error_description", "errmsg", "err", "status_msg", "base_resp", "reason", "description", "title", "info"),
    *("fault", "faultstring", "exception", "innererror", "metadata", "raw"),
)
_CODES = ("code", "type", "status", "error_type", "error_code")
# A body in which nobody says anything to people is shown whole up to so many characters: longer ones repeat requests.
_SHOWN_WHOLE = 200
_DEEPEST = 8
# Codes of errors that are none.
_WELL = frozenset({"0", "200", "ok", "success"})

_KINDS = {401: "key", 402: "quota", 403: "key", 404: "setting", 405: "setting", 408: "timeout", 409: "busy"}
_KINDS |= {410: "setting", 413: "refused", 415: "setting", 425: "busy", 429: "busy", 501: "setting"}

_FILTERED = re.compile(
    r"content.?(filter|polic|management|moderation|safety)|responsible.?ai.?polic|data.?inspection.?failed"
    r"|moderation.?(block|fail|reject|flag)|safety (system|setting|filter|polic)|(inappropriate|sensitive) content"
    r"|violat.{0,60}polic|(input|prompt|content|request|message|text|output|response)\b.{0,40}\bflagged"
    r"|content exists risk|(input|output).{0,5}new_sensitive"
)
_QUOTA = re.compile(
    r"insufficient.?(quota|balance|credit|fund)|exceeded your current quota"
    r"|billing.{0,3}(details|hard|limit|not.?active)|out of credits?|quota.{0,20}exhaust|payment required"
    r"|spend(ing)?.limit|arrears|(credit|balance).{0,40}(too low|exhausted|depleted|used up)"
)
# A limit that time heals.
_PACE = re.compile(
    r"rate.?limit|per.?(minute|min|second|sec)\b|too many requests|(retry|try again) (in|after)|retrydelay|throttl"
)
# Said by servers that call it a bad request, or let a proxy call it a missing page.
_OVERLOADED = re.compile(
    r"overloaded|(server|service|model|engine|system)\b.{0,20}\b(is|are|too|currently) busy"
    r"|(try|retry)( your request)?( again)? later"
    r"|(temporarily|currently) (unavailable|out of capacity)|(over|at|out of|exceed\w*) capacity|high (demand|load)"
)
_TOO_LONG = re.compile(
    r"context.?(length|window|size)|max_model_len|maximum (input|prompt|sequence) length|string_above_max_length"
    r"|(prompt|input|messages?|conversation|content|text|tokens?)\b.{0,60}(too (large|many)|exceeds?|longer than)"
    r"|(request|body|payload|entity)\b.{0,30}too (long|large)|(?<!took )too long|too many (input |prompt )?tokens"
    r"|token limit|reduce (the|your) (length|prompt|input|message)|inputs?`? tokens ?\+|less than \d+ tokens"
    r"|range of input length"
)
# In no words of a server that failed.
_OVER_CONTEXT = re.compile(r"exceed.{0,40}context.?(length|size|window)|context.?(length|size|window).{0,20}exceed")
# The answer was asked too long, not the prompt: a setting's fault.
_ANSWER_TOO_LONG = re.compile(r"max_(completion_)?tokens.{0,80}(too (large|big)|at most|less than|exceeds?|between)")
_OF_THE_PROMPT = re.compile(r"context|prompt|input")
_NO_MODEL = re.compile(
    r"model_not_found|model_not_available|unknown.model|invalid.model|no such model"
    r"|model\b.{0,80}(does not exist|not found|not exist|not available|not a valid model|no longer|decommissioned)"
)
_KEY = re.compile(
    r"invalid.?api.?key|incorrect api key|authentication|unauthori[sz]ed|unauthenticated|permission_denied"
    r"|api.?key\b.{0,20}(not valid|invalid|expired|missing|not found|incorrect|required)"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal.

    Attributes:
        status: HTTP's, or the one that a body inside a 200 names; 0 where that names none.
        reason: What the body says to people, on one line.
        codes: What it says to programs (`code`, `type`), in lower case.
        fields: Paths of the request's fields that it names apart from its words, e.g. "n" or "messages.0.role".
    """

    status: int
    reason: str
    codes: str = ""
    fields: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """All of its words, for patterns to look at."""
        return f"{self.codes} {self.reason}".lower()

    @property
    def kind(self) -> str:
        """The `GenerateError.kind` that status and words tell; "" where they do not."""
        said = self.said
        if self.status not in (408, 409) and self.status < 502:
            if _FILTERED.search(said):
                return "filtered"
            if _QUOTA.search(said) and not (self.status == 429 and _PACE.search(said)):
                return "quota"
            # A limit on tokens a minute is no prompt that is too long, nor is a server that took too long.
            if self.status != 429 and (is_too_long(said) if self.status < 500 else _OVER_CONTEXT.search(said)):
                return "refused"
            # A key that is refused for now would else end the command, and a bad request be kept as an outcome.
            if self.status in (400, 403, 404, 422) and _PACE.search(said):
                return "busy"
            if self.status in (400, 404, 422) and _OVERLOADED.search(said):
                return "busy"
            if self.status != 429 and _NO_MODEL.search(said):
                return "setting"
        if 300 <= self.status < 400:
            return "setting"
        if self.status in _KINDS:
            return _KINDS[self.status]
        if self.status in (0, 400, 500) and _KEY.search(said):
            return "key"
        return "server" if self.status == 0 or self.status >= 500 else ""


def read_refusal(status: int, text: str) -> Refusal:
    """Reads the body of a refusal, whatever its form: OpenAI's, FastAPI's, a bare string, a page of HTML.

    Args:
        status: HTTP's.
        text: The body.
    """
    body = _parsed(text)
    if not isinstance(body, dict | list):
        return Refusal(status, plain(text) or "no reason given")
    said = list(dict.fromkeys(filter(None, map(plain, _sayings(body)))))
    # The outer words often hold the inner ones.
    distinct = [one for i, one in enumerate(said) if not any(one in other for other in (*said[:i], *said[i + 1 :]))]
    whole = plain(text)
    reason = "; ".join(distinct) or (whole if len(whole) <= _SHOWN_WHOLE and len(body) else "no reason given")
    codes = list(dict.fromkeys(str(code).lower() for code in _found(body, _CODES) if isinstance(code, str | int)))
    return Refusal(status, reason, " ".join(codes), tuple(dict.fromkeys(_fields(body))))


def refusal_within(body: Any) -> Refusal | None:
    """The refusal that came as a success, with status 200; None where the body holds none."""
    one = body[0] if isinstance(body, list) and body else body
    # An `error` beside choices is how some say that there was none.
    if not isinstance(one, dict) or one.get("choices") or not any(_sayings(one)):
        return None
    return _within(one)


def refusal_beside(body: Any, answered: bool) -> Refusal | None:
    """Return the refusal that stands beside choices and cut them off; None where there is none.

    Args:
        body: Body of a reply with choices.
        answered: Whether a choice has text. Words beside it may say that all went well; an object does not.
    """
    error = body.get("error") if isinstance(body, dict) else None
    if not (isinstance(error, dict) or not answered) or not any(map(str.strip, _sayings({"error": error}))):
        return None
    if isinstance(error, dict) and not _WELL.isdisjoint(
        str(code).lower() for code in _found(error, ("code", "status"))
    ):
        return None
    return _within({"error": error})


def _within(body: dict[str, Any]) -> Refusal:
    numbers = [int(code) for code in _found(body, _CODES) if str(code).isdecimal() and 400 <= int(code) < 600]
    return read_refusal(numbers[0] if numbers else 0, json.dumps(body))


def plain(text: str) -> str:
    """Text on one line, without what cannot be shown; of a page of HTML its title, or else its words."""
    if re.match(r"\s*<(!doctype|html|head|body|\?xml)", text, re.IGNORECASE):
        titles = re.findall(r"<(?:title|h1)\b[^>]*>(.*?)</", text, re.IGNORECASE | re.DOTALL)
        words = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", text, flags=re.IGNORECASE | re.DOTALL)
        text = f"a page of HTML: {html.unescape(next(filter(str.strip, titles), words))}"
    text = text[:10_000].encode(errors="replace").decode()
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def is_too_long(said: str) -> bool:
    """Return whether the words of a refusal say that the prompt does not fit the LLM's context."""
    said = said.lower().replace("input validation", "")
    if _ANSWER_TOO_LONG.search(said) and not _OF_THE_PROMPT.search(said):
        return False
    return bool(_TOO_LONG.search(said))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _sayings(body: Any, depth: int = 0) -> Iterator[str]:
    """Yield what the body says to people, outermost first."""
    if depth > _DEEPEST:
        return
    if isinstance(body, str):
        # Gateways put the refusal of the one behind them into their own, as text.
        inner = _parsed(body) if body.lstrip().startswith(("{", "[")) else None
        if isinstance(inner, dict | list):
            yield from _sayings(inner, depth + 1)
        else:
            yield body
    elif isinstance(body, list):
        for one in body:
            yield from _sayings(one, depth + 1)
    elif isinstance(body, dict):
        lower = {str(name).lower(): value for name, value in body.items()}
        if isinstance(lower.get("loc"), list) and isinstance(lower.get("msg"), str):
            # pydantic's; its `input` would repeat the request.
            yield f"{'.'.join(map(str, lower['loc']))}: {lower['msg']}"
            return
        for name in _SAYING:
            # `metadata` may hold anything; `raw` is what the endpoint behind a gateway said.
            value = lower.get(name)
            yield from _sayings({"raw": value.get("raw")} if name == "metadata" and isinstance(value, dict) else value,
                                depth + 1)  # fmt: skip


def _found(body: Any, names: tuple[str, ...], depth: int = 0) -> Iterator[Any]:
    """Values under these names, anywhere in the body."""
    if depth > _DEEPEST:
        return
    if isinstance(body, str) and body.lstrip().startswith(("{", "[")):
        body = _parsed(body)
    if isinstance(body, list):
        for one in body:
            yield from _found(one, names, depth + 1)
    elif isinstance(body, dict):
        for name, value in body.items():
            if str(name).lower() in names:
                yield value
            if isinstance(value, dict | list | str) and str(name).lower() != "input":
                yield from _found(value, names, depth + 1)


def _fields(body: Any) -> Iterator[str]:
    for value in _found(body, ("loc", "param", "field")):
        parts = value if isinstance(value, list) else [value]
        path = ".".join(str(part) for part in parts if isinstance(part, str | int))
        path = re.sub(r"\[['\"]?(\w+)['\"]?\]", r".\1", path).removeprefix("body.").removeprefix("$.")
        if path:
            yield path
