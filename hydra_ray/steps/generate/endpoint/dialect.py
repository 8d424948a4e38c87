"""Dialects: what an endpoint takes of OpenAI's chat completions, and how its refusals teach it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from hydra_ray.records import ChatRequest, Message
from hydra_ray.steps.generate.endpoint.refusal import Refusal
from hydra_ray.steps.generate.endpoint.turns import INSTRUCTING, alternates, system_as_text, system_first, taking_turns

# Where a temperature of zero is refused and smaller ones than this may be, too.
NEARLY_GREEDY = 0.01
# Ways to hold an answer to a schema, the strongest first.
_WAYS_TO_HOLD = ("schema", "object", "words")

# Requests are refused in many words. Those that say "I do not know this" or "not like this":
_NOT_KNOWN = re.compile(
    r"unsupported|not support|n't support|unrecogni[sz]ed|unknown|unexpected|\bextra|forbid|disallow|no such|deprecated"
    r"|not (permitted|allowed|enabled|implemented|available|accepted|valid|recogni[sz]ed|a valid|one of)|must not"
    r"|cannot be"
    r"|(cannot|can't|could not) find|additional propert|不支持"
)
_NOT_SO = re.compile(
    rf"{_NOT_KNOWN.pattern}|invalid|\bonly\b|must be|should be|at most|less than|greater than|exceed|out of range|<="
    r"|too (large|many|high)|range|between|maximum|limit|仅支持|只支持|只能"
)
# Said of a parameter itself.
_NOT_TAKEN = re.compile(
    r"unsupported|not support|n't support|unrecogni[sz]ed|unknown|unexpected|\bextra|no such|deprecated|不支持"
    r"|not (permitted|allowed|enabled|implemented|available)"
)
# Said of what a schema, a stop or a bias holds.
_OF_ITS_VALUE = re.compile(
    r"invalid schema|in context=|schema (for|of) response_format|(invalid|unsupported).value|token id|vocab"
    r"|does not support ['\"`\d]|\bof type\b|response_format type"
)
# However an endpoint calls it.
_SCHEMA = re.compile(r"response.?format|json.?(schema|object|mode)|structured.(output|decod|generation)|guided|grammar")
_RANGE = re.compile(r"between|range|less than|greater than|<=|>=|[<>] ?\d|at (most|least)|maximum|minimum|[\[(] ?-?\d")
_POSITIVE = re.compile(
    r"positive|greater than|larger than|above|more than|> ?0|>= ?0?\.\d|non-?zero|(not|n't) be (0|zero)|[\[(] ?0"
)
_SAMPLES = re.compile(
    r"(multiple|several|many) (candidates|choices|completions|samples|generations|responses|outputs|sequences)"
    r"|(only|exactly) (one|1|a single) (completion|choice|candidate|sample|response|generation)|candidate_?count"
    r"|(number of|num) ?(choices|completions|candidates|samples|generations)|best_of|\bn ?(>|!=|=|==|<=|≤) ?1\b"
)
_UNKNOWN_FIELDS = re.compile(
    r"(extra|unknown|unexpected|unrecogni[sz]ed|additional|unsupported)[ _](request )?"
    r"(input|field|param|propert|argument|key|attribute|option)|extra_forbidden|unknown_parameter|unsupported_parameter"
)
# What it would take: not what it refuses.
_LIST_OF_KNOWN = re.compile(
    r"(supported|allowed|valid|permitted|accepted|expected|known|available) "
    r"(values|parameters|params|fields|arguments|options|keys|properties|inputs)\b[^.;]*|\bexpected one of\b[^.;]*"
)
_ALTERNATE = re.compile(
    r"alternat|consecutive|in a row|same role|(start|begin) with (a |an |the )?['\"`]?user|first (non-system )?"
    r"(message|turn|role|content).{0,40}user"
)
_AT_THE_BEGINNING = re.compile(
    r"beginning|at the start|be (the )?first|(only|at most|more than|multiple|single) ?(one|1|a)? ?(['\"`]?system)"
)
_ROLE = re.compile(r"\broles?\b|unexpected message")
# However it was sent, some call it theirs.
_INSTRUCTION = re.compile(r"(system|developer).?(role|message|prompt|instruction)")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form in which an endpoint is asked; the defaults are OpenAI's own.

    Attributes:
        samples: Most samples (`n`) of one request; None is any number.
        max_tokens: Name of the endpoint's parameter for the longest answer.
        temperature: "positive" sends a small one for zero; "omitted" leaves the endpoint its own.
        seed: Whether it takes a seed.
        system: "first" tells all system messages as one at the beginning, "user" in the user's first message.
        developer: Whether it takes the role developer; else that is system.
        alternate: Whether user and assistant have to take turns, the user first.
        streams: How answers are streamed: "usage" asks for the usage at their end, "plain" for none, and "whole" asks
            for whole answers since the endpoint does not stream.
        json_by: How an answer is held to a schema: by the "schema" itself, as any JSON "object", or by the prompt's
            "words" alone.
        without: Parameters of clients that it does not take, by OpenAI's names.
    """

    samples: int | None = None
    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: Literal["sent", "positive", "omitted"] = "sent"
    seed: bool = True
    system: Literal["sent", "first", "user"] = "sent"
    developer: bool = True
    alternate: bool = False
    streams: Literal["usage", "plain", "whole"] = "usage"
    json_by: Literal["schema", "object", "words"] = "schema"
    without: tuple[str, ...] = ()

    def requests(self, n: int) -> int:
        """Return how many requests n samples take."""
        return 1 if self.samples is None else -(-n // self.samples)

    def changed(self, lessons: Mapping[str, Any]) -> Dialect:
        """With what was learnt. Fewer samples are learnt, never more; more to do without, never less; as for JSON."""
        learnt = dict(lessons)
        if self.samples is not None and "samples" in learnt:
            learnt["samples"] = min(self.samples, learnt["samples"])
        if "without" in learnt:
            learnt["without"] = tuple(sorted({*self.without, *learnt["without"]}))
        if "json_by" in learnt:
            learnt["json_by"] = max(self.json_by, learnt["json_by"], key=_WAYS_TO_HOLD.index)
        return replace(self, **learnt)

    def differs(self) -> dict[str, Any]:
        """Return the values that are not OpenAI's own."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    def body(self, request: ChatRequest, model: str) -> dict[str, Any]:
        """The request in this form, at most `samples` of it asked at once."""
        body: dict[str, Any] = {"model": model, "messages": self._messages(request.messages)}
        # One sample is what every endpoint gives without being told.
        if request.n > 1:
            body["n"] = request.n
        if self.temperature == "sent":
            body["temperature"] = request.temperature
        elif self.temperature == "positive":
            body["temperature"] = max(request.temperature, NEARLY_GREEDY)
        body[self.max_tokens] = request.max_tokens
        # A greedy answer needs no seed.
        if self.seed and request.temperature > 0:
            body["seed"] = request.seed
        if self.holds(request):
            body["response_format"] = request.held_to if self.json_by == "schema" else {"type": "json_object"}
        wanted = request.sampling.parameters()
        return body | {name: value for name, value in wanted.items() if name not in self.without}

    def holds(self, request: ChatRequest) -> bool:
        """Return whether the answer is held to the request's schema, in whole or as far as it is JSON."""
        free = "response_format" not in self.without and not request.sampling.response_format
        return bool(request.schema) and self.json_by != "words" and free

    def leaves_out(self, request: ChatRequest) -> tuple[str, ...]:
        """Return the parameters of a request that the endpoint is not told in this form, by OpenAI's names."""
        gone = [name for name in request.sampling.parameters() if name in self.without]
        if self.temperature == "omitted":
            gone.append("temperature")
        if not self.seed and request.temperature > 0:
            gone.append("seed")
        return tuple(gone)

    def streamed(self, request: ChatRequest, model: str) -> dict[str, Any]:
        """The request for one answer in pieces; `streams` is not "whole"."""
        options = {"stream_options": {"include_usage": True}} if self.streams == "usage" else {}
        return {**self.body(request, model), "stream": True, **options}

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        turns = [(m.role, m.content) for m in messages]
        if not self.developer:
            turns = [("system" if role == "developer" else role, text) for role, text in turns]
        if self.system != "sent" or self.alternate:
            turns = system_first(turns)
        if self.system == "user":
            turns = system_as_text(turns)
        if self.alternate:
            turns = taking_turns(turns)
        return [{"role": role, "content": text} for role, text in turns]


def lessons(
    refusal: Refusal, sent: Mapping[str, Any], wanted: Iterable[str] = (), *, held: bool = False
) -> dict[str, Any]:
    """Return what a refusal teaches: values of a `Dialect` that change the refused request; {} where nothing.

    Args:
        refusal: What the endpoint answered instead of a completion.
        sent: The body of the request that was refused.
        wanted: Those of its parameters that a client sent: the endpoint can be asked without them.
        held: Whether its `response_format` holds the answer to a schema of our own, by `Dialect.json_by`.
    """
    refusal, said = _about(refusal, sent), _LIST_OF_KNOWN.sub(" ", refusal.said)
    learnt = _about_roles(refusal, said, sent["messages"])
    if sent.get("n", 1) > 1 and ((_names(refusal, said, "n") and _NOT_SO.search(said)) or _SAMPLES.search(said)):
        learnt["samples"] = 1
    if "seed" in sent and _names(refusal, said, "seed") and _NOT_SO.search(said):
        learnt["seed"] = False
    learnt |= _about_stream(refusal, said, sent)
    learnt |= _about_length(refusal, said, sent)
    if held:
        learnt |= _about_schema(refusal, said, sent["response_format"]["type"])
    # "n must be 1 at temperature 0" is about n.
    if "samples" not in learnt:
        learnt |= _about_temperature(refusal, said, sent)
    if not learnt:
        learnt |= _about_wishes(refusal, said, wanted)
    if not learnt and _names_nothing(said) and not any(_names(refusal, said, name) for name in sent):
        # It does not say which: the one that is missed least first.
        if held:
            learnt["json_by"] = "words"
        elif "stream_options" in sent:
            learnt["streams"] = "plain"
        elif "seed" in sent:
            learnt["seed"] = False
        elif sent.get("n", 1) > 1:
            learnt["samples"] = 1
        elif "max_completion_tokens" in sent:
            learnt["max_tokens"] = "max_tokens"
    return learnt


def _about_schema(refusal: Refusal, said: str, asked_by: str) -> dict[str, Any]:
    """The next weaker way to hold an answer to a schema, whatever of the present one is not liked."""
    if not (_names(refusal, said, "response_format") or (not refusal.fields and _SCHEMA.search(said))):
        return {}
    unknown = _NOT_TAKEN.search(said) and not (_OF_ITS_VALUE.search(said) or "schema" in said)
    return {"json_by": "object" if asked_by == "json_schema" and not unknown else "words"}


def _about_wishes(refusal: Refusal, said: str, wanted: Iterable[str]) -> dict[str, Any]:
    """A parameter that is not known. A value that is not liked is its sender's fault, and others go on."""
    if not _NOT_TAKEN.search(said) or _OF_ITS_VALUE.search(said):
        return {}
    refused = tuple(name for name in wanted if _names(refusal, said, name))
    return {"without": refused} if refused else {}


def _names_nothing(said: str) -> bool:
    """Whether an unknown field is refused without its name."""
    unknown = _UNKNOWN_FIELDS.search(said)
    return unknown is not None and not re.search(r"[:'\"`] *\w", said[unknown.end() :])


def named_settings(refusal: Refusal, sent: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """Return those of the body's parameters in `names` that a refusal is about."""
    refusal, said = _about(refusal, sent), _LIST_OF_KNOWN.sub(" ", refusal.said)
    return [name for name in names if _names(refusal, said, name)]


def _about(refusal: Refusal, sent: Mapping[str, Any]) -> Refusal:
    """With those fields only that were sent; some name what the request became further on."""
    return replace(refusal, fields=tuple(field for field in refusal.fields if set(field.split(".")) & set(sent)))


def _names(refusal: Refusal, said: str, name: str) -> bool:
    """Whether the refusal is about a parameter."""
    if refusal.fields:
        # A message about one field may mention others.
        return any(name in (field, field.rsplit(".", 1)[-1], field.split(".", 1)[0]) for field in refusal.fields)
    # Not a letter of a word, and not the n of an escaped line break.
    return bool(re.search(rf"(?:(?<![\w\\.-])|(?<=body\.)){re.escape(name.lower())}(?![\w])", said))


def _about_stream(refusal: Refusal, said: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    if "stream" not in sent or not _NOT_SO.search(said):
        return {}
    if "stream_options" in sent and any(_names(refusal, said, name) for name in ("stream_options", "include_usage")):
        return {"streams": "plain"}
    return {"streams": "whole"} if any(_names(refusal, said, name) for name in ("stream", "streaming")) else {}


def _about_length(refusal: Refusal, said: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    mine, other = "max_tokens", "max_completion_tokens"
    if mine not in sent:
        mine, other = other, mine
    missing = re.search(rf"\b{other}\b.{{0,40}}(required|missing)|(required|missing|use) .{{0,20}}\b{other}\b", said)
    if missing or (_names(refusal, said, mine) and _NOT_KNOWN.search(said) and not _RANGE.search(said)):
        return {"max_tokens": other}
    return {}


def _about_temperature(refusal: Refusal, said: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    if "temperature" not in sent or not _names(refusal, said, "temperature"):
        return {}
    if "top_p" in sent and _names(refusal, said, "top_p"):
        # Both together are refused, and one of them was set by hand.
        return {}
    low = sent["temperature"] <= NEARLY_GREEDY
    if low and _POSITIVE.search(said) and not re.search(r"\bonly\b|default", said):
        return {"temperature": "positive" if sent["temperature"] == 0 else "omitted"}
    if _NOT_KNOWN.search(said) and not (_RANGE.search(said) and not re.search(r"\bonly\b|default", said)):
        return {"temperature": "omitted"}
    # A value that is out of range is a setting's fault, unless only one value is in it.
    return {"temperature": "omitted"} if re.search(r"\bonly\b|must be (equal to )?1|should be 1", said) else {}


def _about_roles(refusal: Refusal, said: str, messages: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    roles = [message["role"] for message in messages]
    systems = [i for i, role in enumerate(roles) if role == "system"]
    about_role = any(field.endswith("role") for field in refusal.fields) or bool(_ROLE.search(said))
    refused = _refused_roles(refusal, said, roles)
    if _ALTERNATE.search(said):
        talk = [role for role in roles if role not in INSTRUCTING]
        if not alternates(talk):
            return {"alternate": True}
        # Templates without a system role say so, too.
        return {"system": "user"} if systems else {}
    if "developer" in refused and (about_role or "developer" in said) and (refusal.fields or _NOT_SO.search(said)):
        return {"developer": False}
    if "system" in refused and ("system" in said or about_role or _INSTRUCTION.search(said)):
        if _AT_THE_BEGINNING.search(said) and systems != [0]:
            return {"system": "first"}
        if (about_role and _NOT_SO.search(said)) or _INSTRUCTION.search(said):
            return {"system": "user"}
    return {}


def _refused_roles(refusal: Refusal, said: str, roles: Sequence[str]) -> set[str]:
    """Return the instructing roles that a refusal may be about."""
    places = [int(place) for field in refusal.fields for place in re.findall(r"^messages\.(\d+)", field)]
    among = {roles[place] for place in places if place < len(roles)} or {role for role in roles if role in INSTRUCTING}
    named = {role for role in among if role in said}
    return named or among
