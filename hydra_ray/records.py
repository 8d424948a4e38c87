"""The few record types that every package shares."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import regex

# Around an id: blanks, and what is as little seen, as copied text has it (spaces of width zero, byte order marks,
# directions). Joiners and variants of signs may be the end of an emoji.
_AROUND = r"[\s\x1C-\x1F\xAD\u061C\u180E\u200B\u200E\u200F\u202A-\u202E\u2060-\u206F\uFEFF]+"
_BLANKS_AROUND = regex.compile(rf"\A{_AROUND}|{_AROUND}\Z")
_UNSEEN = regex.compile(r"[\s\p{Default_Ignorable_Code_Point}\u2800]*")


class HydraError(Exception):
    """A failure that the user of hydra-ray can mend; its message says where and how."""


class UserKey(NamedTuple):
    """Identifies a user everywhere: user ids are only unique within their tenant."""

    tenant: str
    user: str

    @property
    def is_nobody(self) -> bool:
        """Whether this is no user's key: nothing is ever looked up for it."""
        return is_blank(self.user)


# Who asks where a request names no user. No data holds such a key, since ids are never blank.
NOBODY = UserKey("", "")


def is_blank(text: str) -> bool:
    """Return whether nothing of a text is seen: it is empty, or of blanks and signs of no width."""
    return _UNSEEN.fullmatch(text) is not None


def as_user_id(text: str) -> str:
    """Return the id as it is known everywhere, in data and in requests alike: without blanks around it.

    Blanks around an id come from padded columns and are lost in HTTP headers, and signs of no width are copied with
    it, so neither can tell two people apart.

    Raises:
        ValueError: Nothing is left, or the id holds what no store takes.
    """
    user = _BLANKS_AROUND.sub("", text)
    if is_blank(user):
        raise ValueError("is blank: nobody is not a user")
    if "\0" in user or any("\ud800" <= sign <= "\udfff" for sign in user):
        raise ValueError("holds a zero or half a surrogate pair")
    return user


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One thing a user did before: an input and the output this user preferred for it.

    Attributes:
        id: Id, unique within the user's history.
        input: Text that the output answers (an article, a film's description, a message).
        output: The user's own answer (a tag, a score, a headline, an edited reply).
        ts: Date as the text that it was given as, which `hydra_ray.dates.span` reads; None when unknown.
        item_id: Id of what the item is about (a film, a product), shared between users; None when unknown.
        context: More text to retrieve by, never shown to the LLM (a title, say).
        rejected: Answer that the user would not have in place of the output; None where none is known.
    """

    id: str
    input: str
    output: str
    ts: str | None = None
    item_id: str | None = None
    context: str = ""
    # Not in `repr`, of which fingerprints are made: those of records without any stay what they are.
    rejected: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of an OpenAI chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """Parameters by which OpenAI's clients shape answers; what is not set is left to the LLM.

    Attributes:
        top_p: Share of probability that tokens are drawn from.
        frequency_penalty: Amount that each earlier use of a token takes from its logit.
        presence_penalty: Amount that any earlier use of a token takes from its logit.
        stop: Texts before which an answer ends.
        logit_bias: Ids of tokens, each with what is added to its logit.
        response_format: OpenAI's object as JSON, for answers that are JSON; "" is text.
        reasoning_effort: Word for how much an LLM that reasons should do so.
        verbosity: Word for how long an answer should be.
    """

    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] = ()
    logit_bias: tuple[tuple[str, float], ...] = ()
    response_format: str = ""
    reasoning_effort: str = ""
    verbosity: str = ""

    def parameters(self) -> dict[str, Any]:
        """Return what is set, in the form in which requests have it."""
        found = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}
        if self.stop:
            found["stop"] = list(self.stop)
        if self.logit_bias:
            found["logit_bias"] = dict(self.logit_bias)
        if self.response_format:
            found["response_format"] = json.loads(self.response_format)
        return found


# Nothing is set.
LEFT_TO_THE_LLM = Sampling()


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a client wants its answer made, where that is not the method's to say.

    Attributes:
        n: Answers wanted.
        temperature: Temperature of the samples; None is the method's own.
        max_tokens: Most tokens of an answer; None is the task's own.
        seed: Number that the method's seed is mixed with; None leaves it as it is.
        sampling: All else.
    """

    n: int = 1
    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    sampling: Sampling = LEFT_TO_THE_LLM


@dataclass(frozen=True, slots=True)
class Query:
    """One request of a user, without its answer: gold answers are kept apart, in `Dataset.golds`.

    Attributes:
        id: Id, unique within the data.
        user: The user who asks; `NOBODY` where a request names no user.
        input: Text to answer.
        ts: Date of the query, in the form of `HistoryItem.ts`; None when unknown.
        item_id: Id of what the query is about, in the form of `HistoryItem.item_id`; None when unknown.
        turns: Messages that were said before in the same conversation, oldest first.
        wishes: How the client wants its answer made.
    """

    id: str
    user: UserKey
    input: str
    ts: str | None = None
    item_id: str | None = None
    turns: tuple[Message, ...] = ()
    wishes: Wishes = Wishes()

    @property
    def whose(self) -> tuple[UserKey, ...]:
        """The user, as `ChatRequest.users` tells of them; nobody is not told of."""
        return () if self.user.is_nobody else (self.user,)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A history item and the score that a retriever or reranker gave it for one query.

    Attributes:
        item: The item, from the user's own history or a peer's.
        score: Score, higher is better; scores compare within one ranking only.
        fill: Whether the item shares nothing with the query and is there because it is new.
    """

    item: HistoryItem
    score: float
    fill: bool = False


@dataclass(frozen=True, slots=True)
class PeerItem:
    """A history item of somebody else, of the same tenant."""

    user: UserKey
    item: HistoryItem


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One request to a generator, in OpenAI chat completions' terms.

    Attributes:
        messages: The chat.
        n: Samples wanted.
        temperature: Temperature of the samples.
        max_tokens: Most tokens of an answer.
        seed: Seed of the samples.
        users: Users whose texts the messages hold, who asks among them, as far as that is known. No answer depends on
            it: answers that are kept are removed with them.
        sampling: Further parameters.
        schema: JSON schema, as JSON, that the answer is held to where the LLM can be; "" holds it to none. Whoever asks
            says so in the messages too, and checks what comes: not every LLM can be held.
        traceparent: The trace and span that it belongs to, as W3C writes them. No answer depends on it.
    """

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float = 0.0
    max_tokens: int = 64
    seed: int = 0
    users: tuple[UserKey, ...] = field(default=(), compare=False)
    sampling: Sampling = LEFT_TO_THE_LLM
    schema: str = ""
    traceparent: str | None = field(default=None, compare=False)

    @property
    def held_to(self) -> dict[str, Any]:
        """OpenAI's `response_format` that holds the answer to the schema, which is not empty."""
        schema = {"name": "answer", "strict": True, "schema": json.loads(self.schema)}
        return {"type": "json_schema", "json_schema": schema}


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls and tokens that a piece of work cost.

    Attributes:
        calls: Requests to the LLM.
        prompt_tokens: Tokens in.
        completion_tokens: Tokens out.
        cached: Calls that were answered from disk.
        cached_tokens: Those of the tokens in that the LLM had at hand, as far as it tells.
        reasoning_tokens: Those of the tokens out that were reasoning, as far as the LLM tells.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Generation:
    """A generator's answers to one request: at most `n` texts, fewer when it returned fewer.

    Attributes:
        texts: The answers.
        usage: Calls and tokens that they took.
        finishes: Why each answer ended, in OpenAI's words: "stop" or "length"; empty where all ended by themselves.
        ignored: Parameters of the request that the LLM was not told, or does not know, by OpenAI's names.
    """

    texts: tuple[str, ...]
    usage: Usage
    finishes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def __add__(self, other: Generation) -> Generation:
        return Generation(
            (*self.texts, *other.texts),
            self.usage + other.usage,
            (*self.ends, *other.ends) if self.finishes or other.finishes else (),
            tuple(dict.fromkeys((*self.ignored, *other.ignored))),
        )

    @property
    def ends(self) -> tuple[str, ...]:
        """Why each answer ended."""
        return self.finishes or ("stop",) * len(self.texts)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of one answer, as the LLM says it. The last one says how the answer ended.

    Attributes:
        text: Text of the piece; "" where it has none, as the last one may.
        finish: Why the answer ended, in OpenAI's words; "" for all pieces but the last.
        usage: Calls and tokens that the whole answer took; None for all pieces but the last.
        ignored: Parameters of the request as `Generation.ignored` has them, with the last piece.
    """

    text: str = ""
    finish: str = ""
    usage: Usage | None = None
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A prompt that gave a candidate.

    Attributes:
        prompt: Name of the prompt: one of `steps.sources.PROMPTS`, or "peers" where it shows items of others.
        votes: Number of the prompt's samples that gave the candidate.
        greedy: Whether the prompt's answer at temperature 0 is among them.
    """

    prompt: str
    votes: int
    greedy: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """One distinct answer among the LLM's samples.

    Attributes:
        text: The answer as it is given to the user.
        votes: Number of samples that gave the answer.
        order: Place among the distinct candidates in the order in which they were sampled, from 0.
        logit: Preference logit of the adapter; None when no adapter scored the candidate.
        score: Score that candidates are ranked by: the logit plus the weighted log share of votes.
        finish: Why the answer ended, as `Generation.finishes` has it.
        sources: Prompts that gave it, whose votes add up to `votes`; empty where nobody gave it, or that is not known.
    """

    text: str
    votes: int = 1
    order: int = 0
    logit: float | None = None
    score: float = 0.0
    finish: str = "stop"
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class GateDecision:
    """Which of the answers that the candidates hold the gate gives.

    Attributes:
        answered: "hydra" where hydra's choice is given, or else the name of the plain answer that is.
        text: The answer.
        gain: Score that hydra's choice can be expected to gain over the plain answer; 0 where both say the same.
        low: Lower bound of that gain.
    """

    answered: str
    text: str
    gain: float
    low: float


@dataclass(frozen=True, slots=True)
class Choice:
    """Candidates as the adapter orders them, best first.

    Attributes:
        candidates: Candidates with their logits and scores.
        personal: Whether the head that was asked for exists; else the shared one was used.
        gate: Decision of the gate; None where the base has none, or no plain method has an answer.
    """

    candidates: tuple[Candidate, ...]
    personal: bool
    gate: GateDecision | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A personalised answer and how it came about.

    Attributes:
        query_id: Id of the query.
        text: Chosen answer; empty when the LLM gave none.
        history: Items shown to the LLM, most useful first.
        candidates: Candidates that competed, best first.
        degraded: Names of what was done without: steps that failed, e.g. `("reranker",)`, or "differences" where the
            profile names none.
        head: Head that the candidates were scored under: "user", "shared", "other" (of another user) or "none".
        usage: LLM calls and tokens that this answer cost.
        truncated: Number of texts that were cut to fit the prompt.
        prompt: Messages that the LLM was asked with; of several prompts the first one's.
        read: Ids of the user's items whose answers the adapter read, most relevant first; empty where it read none.
        ignored: What of the query's wishes the LLM was not told, or does not know, by OpenAI's names.
        finish: Why it ended where there is no candidate that says so: "content_filter" where a filter took all answers.
        refusal: Words in which the LLM declined; "" where it did not.
        gate: Decision of the gate; None where none was asked.
    """

    query_id: str
    text: str
    history: tuple[Ranked, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    degraded: tuple[str, ...] = ()
    head: str = "none"
    usage: Usage = field(default_factory=Usage)
    truncated: int = 0
    prompt: tuple[Message, ...] = ()
    read: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    finish: str = "stop"
    refusal: str = ""
    gate: GateDecision | None = None
