"""Rows of feedback, and the one place that turns them into Arrow columns and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self

import pyarrow as pa

from hydra_ray.records import HistoryItem, Source, UserKey

# Part of every pseudo-query's id on disk. Seeds and answers that are kept hang on it, but it says nothing by itself:
# a real query may be called like that, too.
_PSEUDO_SUFFIX = "@pseudo"

# What is known of a query in files of finished examples: tenant, user and the query's id.
ExampleId = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class ExampleKey:
    """Identifies a query with a known answer: a real one, or a history item that is asked again (a pseudo-query).

    Attributes:
        tenant: The user's tenant.
        user: Id of the user who has the query, within the tenant.
        query_id: The query's id; a pseudo-query's is made by `of_item`.
        pseudo: Whether it is a history item.
    """

    tenant: str
    user: str
    query_id: str
    pseudo: bool

    @classmethod
    def of_item(cls, user: UserKey, item_id: str) -> ExampleKey:
        """Return the key of a history item that is asked again."""
        return cls(*user, f"{item_id}{_PSEUDO_SUFFIX}", pseudo=True)

    @classmethod
    def of_bare_id(cls, user: UserKey, query_id: str) -> ExampleKey:
        """Return the key of an id in a file that says nothing else, where the ending is all there is to go by."""
        return cls(*user, query_id, pseudo=query_id.endswith(_PSEUDO_SUFFIX))

    @property
    def owner(self) -> UserKey:
        """The key of the user."""
        return UserKey(self.tenant, self.user)

    @property
    def item_id(self) -> str | None:
        """The history item's id; None for a real query."""
        return self.query_id.removesuffix(_PSEUDO_SUFFIX) if self.pseudo else None

    @property
    def observation_id(self) -> str:
        """Id that its observations are kept under: the item's own; a query's gets a suffix, as the two may be equal."""
        item = self.item_id
        return f"{self.query_id}@query" if item is None else item

    @property
    def example_id(self) -> ExampleId:
        """Id of the example in files of finished examples, which have no column for `pseudo`."""
        return self.tenant, self.user, self.query_id


_KEY = tuple(field.name for field in fields(ExampleKey))


# Of a prompt that gave a candidate, as `Source` has it.
_SOURCE = [("prompt", pa.string()), ("votes", pa.int32()), ("greedy", pa.bool_())]

# The first columns of all rows of feedback.
_ABOUT_THE_QUERY = (
    ("tenant", pa.string()),
    ("user", pa.string()),
    ("query_id", pa.string()),
    ("query", pa.string()),
    ("pseudo", pa.bool_()),
)


@dataclass(frozen=True, slots=True)
class _FeedbackRow:
    """A row about one query. The key's fields are columns, and so is every other field.

    Attributes:
        key: Identifies the query.
        query: Text of the query.
    """

    SCHEMA: ClassVar[pa.Schema]
    # Columns that came later: without a value they are left out, so that fingerprints stay what they were.
    SINCE: ClassVar[frozenset[str]] = frozenset()

    key: ExampleKey
    query: str

    @property
    def example_id(self) -> ExampleId:
        """Id of the example in files of finished examples."""
        return self.key.example_id

    def to_columns(self) -> dict[str, Any]:
        """Return plain values by column, in the schema's order: fingerprints of training data depend on it."""
        columns = {name: _listed(getattr(self.key if name in _KEY else self, name)) for name in self.SCHEMA.names}
        return {name: value for name, value in columns.items() if value or name not in self.SINCE}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> Self:
        """Return the row that `to_columns` gave these values of."""
        key = ExampleKey(*(columns[name] for name in _KEY))
        # A column that came later is empty in rows of before.
        known = {name: value for name, value in columns.items() if not (value is None and name in cls.SINCE)}
        return cls(key=key, **{name: _fixed(value) for name, value in known.items() if name not in _KEY})


@dataclass(frozen=True, slots=True)
class RerankerRow(_FeedbackRow):
    """The LLM's score for one query with one history item in the prompt, and without.

    Attributes:
        item_id: The item's id.
        item_input: The item's input.
        item_output: The user's own answer to it.
        score_with: Score of the answer with the item in the prompt, 0 to 1.
        score_without: Score of the answer without history.
    """

    NAME: ClassVar[str] = "reranker"
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            *_ABOUT_THE_QUERY,
            ("item_id", pa.string()),
            ("item_input", pa.string()),
            ("item_output", pa.string()),
            ("score_with", pa.float32()),
            ("score_without", pa.float32()),
        ]
    )

    item_id: str
    item_input: str
    item_output: str
    score_with: float
    score_without: float

    @property
    def item(self) -> HistoryItem:
        """The item as far as a row tells of it."""
        return HistoryItem(self.item_id, self.item_input, self.item_output)

    @property
    def helped(self) -> bool:
        """Whether the item helped the LLM, or did no harm to an answer that nothing betters."""
        return self.score_with > self.score_without or self.score_with == self.score_without == 1


@dataclass(frozen=True, slots=True)
class AdapterRow(_FeedbackRow):
    """The LLM's distinct candidates for one query.

    Attributes:
        gold: The user's own answer.
        history: Answers of the retrieved items, most relevant first.
        candidates: Distinct answers of the LLM.
        votes: Samples that gave each candidate.
        scores: Score of each candidate, 0 to 1.
        sources: Prompts that gave each candidate; empty where all candidates come from one prompt.
    """

    NAME: ClassVar[str] = "adapter"
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            *_ABOUT_THE_QUERY,
            ("gold", pa.string()),
            ("history", pa.list_(pa.string())),
            ("candidates", pa.list_(pa.string())),
            ("votes", pa.list_(pa.int32())),
            ("scores", pa.list_(pa.float32())),
            ("sources", pa.list_(pa.list_(pa.struct(_SOURCE)))),
        ]
    )
    SINCE: ClassVar[frozenset[str]] = frozenset({"sources"})

    gold: str
    history: tuple[str, ...]
    candidates: tuple[str, ...]
    votes: tuple[int, ...]
    scores: tuple[float, ...]
    sources: tuple[tuple[Source, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """A query that was asked to the end, whatever it taught.

    Attributes:
        tenant: The user's tenant.
        user: Id of the user who has the query, within the tenant.
        query_id: The query's id; whether it is a pseudo-query's is not kept here.
        failed_calls: Calls that gave no answer.
    """

    NAME: ClassVar[str] = "units"
    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [("tenant", pa.string()), ("user", pa.string()), ("query_id", pa.string()), ("failed_calls", pa.int32())]
    )
    SINCE: ClassVar[frozenset[str]] = frozenset()

    tenant: str
    user: str
    query_id: str
    failed_calls: int

    @property
    def example_id(self) -> ExampleId:
        """Id of the example: tenant, user and the query's id."""
        return self.tenant, self.user, self.query_id

    def to_columns(self) -> dict[str, Any]:
        """Return plain values by column."""
        return asdict(self)

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any]) -> Self:
        """Return the row that `to_columns` gave these values of."""
        return cls(**columns)


def _listed(value: Any) -> Any:
    if isinstance(value, Source):
        return asdict(value)
    return [_listed(one) for one in value] if isinstance(value, tuple) else value


def _fixed(value: Any) -> Any:
    if isinstance(value, dict):
        return Source(**value)
    return tuple(_fixed(one) for one in value) if isinstance(value, list) else value
