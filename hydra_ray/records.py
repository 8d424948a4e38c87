"""The few record types every room speaks, and the Arrow schemas of those that are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import pyarrow as pa
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
    """Whether nothing of a text is seen: it is empty, or of blanks and signs of no width."""
    return _UNSEEN.fullmatch(text) is not None


def as_user_id(text: str) -> str:
    """The id as it is known everywhere, in data and in requests alike: without blanks around it.

    Blanks around an id come from padded columns and are lost in HTTP headers, and signs of no width are copied with
    it, so neither can tell two people apart.

    Raises:
        ValueError: Nothing is left, or it holds what no store takes.
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
        id: Unique within the user's history.
        input: The text the output answers (an article, a film's description, a message).
        output: The user's own answer (a tag, a score, a headline, an edited reply).
        ts: A date as `hydra_ray.dates.span` reads it, as it was given; None when unknown.
        item_id: What the item is about (a film, a product), shared between users.
        context: More text to retrieve by, never shown to the LLM (a title, say).
    """

    id: str
    input: str
    output: str
    ts: str | None = None
    item_id: str | None = None
    context: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of an OpenAI chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Query:
    """One request of a user, without its answer: gold answers are kept apart, in `Dataset.golds`.

    Attributes:
        id: Unique within the data.
        user: Who asks; `NOBODY` where a request names no user.
        input: The text to answer.
        ts: As of a history item.
        item_id: As of a history item.
        turns: What was said before in the same conversation, oldest first.
    """

    id: str
    user: UserKey
    input: str
    ts: str | None = None
    item_id: str | None = None
    turns: tuple[Message, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranked:
    """A history item and the score that a retriever or reranker gave it for one query.

    Attributes:
        item: The item, from the user's own history or a peer's.
        score: Higher is better; of one ranking only.
        fill: Whether it shares nothing with the query and is there because it is new.
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
    """What a generator is asked, in OpenAI chat completions' terms."""

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float = 0.0
    max_tokens: int = 64
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and calls a piece of work cost; `cached` calls were answered from disk."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached + other.cached,
        )


@dataclass(frozen=True, slots=True)
class Generation:
    """What a generator answered: at most `n` texts, fewer when it returned fewer."""

    texts: tuple[str, ...]
    usage: Usage


@dataclass(frozen=True, slots=True)
class Candidate:
    """One distinct answer among the LLM's samples.

    Attributes:
        text: The answer as it is given to the user.
        votes: How many of the samples gave it.
        order: Its place among the distinct candidates as they were sampled, from 0.
        logit: The adapter's preference logit; None when no adapter judged it.
        score: What the candidates are ranked by: the logit plus the weighted log share of votes.
    """

    text: str
    votes: int = 1
    order: int = 0
    logit: float | None = None
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Choice:
    """Candidates as the adapter orders them, best first.

    Attributes:
        candidates: With their logits and scores.
        personal: Whether the head that was asked for exists; else the shared one judged.
    """

    candidates: tuple[Candidate, ...]
    personal: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """A personalised answer and how it came about.

    Attributes:
        query_id: The query's id.
        text: The chosen answer; empty when the LLM gave none.
        history: Items shown to the LLM, most useful first.
        candidates: Candidates, best first.
        degraded: What was done without: steps that failed, e.g. `("reranker",)`, or "differences" where the profile
            tells of none.
        head: Which head judged the candidates: "user", "shared", "other" (of another user) or "none".
        usage: What the LLM was asked for this answer.
        truncated: Texts that were cut to fit the prompt.
        prompt: What the LLM was asked.
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


@dataclass(frozen=True, slots=True)
class User:
    """A user's whole history, oldest first, and their queries."""

    key: UserKey
    history: tuple[HistoryItem, ...]
    queries: tuple[Query, ...] = ()


@dataclass(slots=True)
class LeftOut:
    """What reading left out or changed: how many records by reason, with the first few places of each.

    Attributes:
        counts: Number of records by reason.
        examples: Places of the first few, by reason, e.g. `records.jsonl, line 17`.
    """

    KEPT: ClassVar[int] = 10

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, reason: str, place: str) -> None:
        """Counts one record; its place is kept if it is among the first of its reason."""
        self.counts[reason] += 1
        places = self.examples.setdefault(reason, [])
        if len(places) < self.KEPT:
            places.append(place)

    def add(self, other: LeftOut) -> None:
        """Counts what another one counted as well."""
        self.counts.update(other.counts)
        for reason, places in other.examples.items():
            kept = self.examples.setdefault(reason, [])
            kept += places[: self.KEPT - len(kept)]


@dataclass(frozen=True, slots=True)
class Dataset:
    """One split of a data set.

    Attributes:
        users: Users in a stable order.
        golds: Preferred answer by query id; empty for data without answers.
        visible: Ids of the history items each query may see, by query id; a query that is not
            listed sees its user's whole history.
        pairs: Whether history items are queries with the user's answers, which can be asked again; else they only tell
            of the user.
        same_time: Whether a query may see what is of its own date: where items are known to be earlier all the same.
        left_out: What reading it left out or changed; it makes no difference between data sets.
    """

    users: tuple[User, ...]
    golds: Mapping[str, str] = field(default_factory=dict)
    visible: Mapping[str, frozenset[str]] = field(default_factory=dict)
    pairs: bool = True
    same_time: bool = True
    left_out: LeftOut = field(default_factory=LeftOut, compare=False)

    def history(self, user: User, query: Query) -> tuple[HistoryItem, ...]:
        """The part of the user's history that the query may see."""
        visible = self.visible.get(query.id)
        if visible is None:
            return user.history
        return tuple(item for item in user.history if item.id in visible)


# Reranker feedback: the LLM's score for one query with one history item in the prompt, and without.
RERANKER_FEEDBACK = pa.schema(
    [
        ("tenant", pa.string()),
        ("user", pa.string()),
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("pseudo", pa.bool_()),
        ("item_id", pa.string()),
        ("item_input", pa.string()),
        ("item_output", pa.string()),
        ("score_with", pa.float32()),
        ("score_without", pa.float32()),
    ]
)

# Adapter feedback: one row a query, its distinct candidates with votes and scores. `history` holds
# the answers of the retrieved items, most relevant first.
ADAPTER_FEEDBACK = pa.schema(
    [
        ("tenant", pa.string()),
        ("user", pa.string()),
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("pseudo", pa.bool_()),
        ("gold", pa.string()),
        ("history", pa.list_(pa.string())),
        ("candidates", pa.list_(pa.string())),
        ("votes", pa.list_(pa.int32())),
        ("scores", pa.list_(pa.float32())),
    ]
)
