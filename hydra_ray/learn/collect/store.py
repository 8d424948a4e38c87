"""What the LLM is asked about one query, what its answers teach, and where that is kept."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.learn.collect.plan import Unit
from hydra_ray.methods import Recipe
from hydra_ray.records import (
    ADAPTER_FEEDBACK,
    RERANKER_FEEDBACK,
    ChatRequest,
    Generation,
    HistoryItem,
    HydraError,
    Usage,
    UserKey,
)
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.candidates import candidate_requests, joined
from hydra_ray.steps.generate import BudgetSpentError, GenerateError, Generator
from hydra_ray.steps.generate.failures import Failure
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.steps.retrieval.retrievers import retriever
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)

_UNITS = pa.schema(
    [("tenant", pa.string()), ("user", pa.string()), ("query_id", pa.string()), ("failed_calls", pa.int32())]
)
_SCHEMAS = {"reranker": RERANKER_FEEDBACK, "adapter": ADAPTER_FEEDBACK, "units": _UNITS}
UnitKey = tuple[str, str, str]


@dataclass(slots=True)
class Told:
    """What asking about one unit came to.

    Attributes:
        reranker: Rows of feedback.
        adapter: Rows of feedback.
        usage: Calls made now, their tokens, and answers from the cache.
        seconds: Of the calls made now, from asking to the answer, added up; waiting for a free slot counts.
        began: When asking began, seconds since 1970.
        ended: When the last answer was there.
        failed: Calls without an answer, by what went wrong.
        missing_candidates: Samples asked for and not returned.
        truncated: Texts cut to fit the prompt.
        stopped: Why nothing more may be asked; empty when more may.
    """

    reranker: list[dict[str, Any]] = field(default_factory=list)
    adapter: list[dict[str, Any]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    began: float = 0.0
    ended: float = 0.0
    failed: Counter[Failure] = field(default_factory=Counter)
    missing_candidates: int = 0
    truncated: int = 0
    stopped: str = ""

    @property
    def answered(self) -> int:
        """Calls that were answered."""
        return self.usage.calls + self.usage.cached

    @property
    def finished(self) -> bool:
        """Whether asking again would bring nothing more: what failed would fail again."""
        return not self.stopped and all(failure.final for failure in self.failed)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        failed = [[failure.kind, failure.reason, count] for failure, count in self.failed.items()]
        return {**{f.name: getattr(self, f.name) for f in fields(self)}, "usage": asdict(self.usage), "failed": failed}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Told:
        """From plain values."""
        failed = Counter({Failure(kind, reason): count for kind, reason, count in values["failed"]})
        return cls(**{**values, "usage": Usage(**values["usage"]), "failed": failed})


class FeedbackStore:
    """A folder of Parquet parts. A part counts once its units file is there, which is written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep_to(self, asked_with: Mapping[str, Any]) -> None:
        """Says how what is kept here is asked for; the first to say it decides.

        Args:
            asked_with: Settings that the LLM's answers depend on, by path.

        Raises:
            HydraError: What is here was asked for in another way; both would teach as if they were one.
        """
        path = self._folder / "asked_with.json"
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = [
                f"{name} was {before.get(name)!r} and is {value!r}"
                for name, value in asked_with.items()
                if before.get(name) != value
            ]
            if changed:
                raise HydraError(
                    f"{self._folder}: this feedback was collected with other settings ({'; '.join(changed)}): set "
                    "feedback.dir or out to another folder, or remove this one"
                )
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(dict(asked_with), indent=1), encoding="utf-8")
        os.replace(partial, path)

    def parts(self) -> list[int]:
        """Numbers of the complete parts."""
        return sorted(int(path.name.split(".")[0]) for path in self._folder.glob("*.units.parquet"))

    def done(self) -> set[UnitKey]:
        """Units whose feedback is kept."""
        rows = self.read("units")
        return {(row["tenant"], row["user"], row["query_id"]) for row in rows}

    def read(self, what: str, users: Iterable[UserKey] | None = None) -> list[dict[str, Any]]:
        """Rows of `reranker`, `adapter` or `units`, of the given users only.

        Rows are ordered by user and query: units are answered in whatever order the LLM takes them, and what
        is learnt must not depend on it.
        """
        tables = [pq.read_table(self._path(part, what), schema=_SCHEMAS[what]) for part in self.parts()]
        rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
        rows.sort(key=lambda row: (row["tenant"], row["user"], row["query_id"]))
        if users is None:
            return rows
        wanted = set(users)
        return [row for row in rows if (row["tenant"], row["user"]) in wanted]

    def write(self, part: int, told: Sequence[tuple[Unit, Told]]) -> None:
        """Writes the feedback of finished units as one part."""
        self._folder.mkdir(parents=True, exist_ok=True)
        rows: dict[str, list[dict[str, Any]]] = {
            "reranker": [row for _, rows in told for row in rows.reranker],
            "adapter": [row for _, rows in told for row in rows.adapter],
            "units": [{**_about(unit), "failed_calls": rows.failed.total()} for unit, rows in told],
        }
        for what in ("reranker", "adapter", "units"):
            path = self._path(part, what)
            partial = path.with_suffix(".partial")
            pq.write_table(pa.Table.from_pylist(rows[what], schema=_SCHEMAS[what]), partial)
            os.replace(partial, path)

    def _path(self, part: int, what: str) -> Path:
        return self._folder / f"{part:05d}.{what}.parquet"


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything the LLM is asked about one unit, and what its answers are judged by.

    Attributes:
        about: The columns that name the query in each row of feedback.
        gold: The user's own answer.
        items: Retrieved items tried one at a time.
        evidence: Answers of the history that the adapter will read.
        alone: Requests without history and with each item.
        several: Requests for candidates.
        truncated: Texts cut to fit the prompt.
    """

    about: dict[str, Any]
    gold: str
    items: tuple[HistoryItem, ...]
    evidence: tuple[str, ...]
    alone: tuple[ChatRequest, ...]
    several: tuple[ChatRequest, ...]
    truncated: int

    @property
    def requests(self) -> tuple[ChatRequest, ...]:
        """All of them."""
        return (*self.alone, *self.several)


@dataclass(frozen=True, slots=True)
class Questions:
    """Writes what the LLM is asked about a unit.

    Args:
        prompter: Writes its prompts.
        recipe: Shots, candidates and temperature, as the method that is trained will use them.
        items: Most retrieved items tried one at a time.
        embed: Gives the vectors that dense and hybrid retrieval compare.
    """

    prompter: Prompter
    recipe: Recipe
    items: int
    embed: Embed | None = None

    def __call__(self, unit: Unit) -> Asked:
        """The unit's requests; they depend on nothing that the LLM answers."""
        recipe = self.recipe
        most = max(self.items, recipe.evidence, recipe.shots)
        found = retriever(recipe.retriever, self.embed, recipe.stemmer)(unit.query, unit.history, most)
        nearest = [ranked.item for ranked in found]
        items = nearest[: self.items]
        seed, longest = stable_seed(recipe.seed, unit.query.user, unit.query.id), self.prompter.task.max_tokens
        alone = [
            ChatRequest(self.prompter(unit.query, shots).messages, 1, 0.0, longest, seed)
            for shots in ([], *([item] for item in items))
        ]
        # Texts cut above are cut again, and counted, in the candidates' prompt.
        several = self.prompter(unit.query, nearest[: recipe.shots])
        return Asked(
            _about(unit),
            unit.gold,
            tuple(items),
            tuple(item.output for item in nearest[: recipe.evidence]),
            tuple(alone),
            candidate_requests(several.messages, recipe.candidates, recipe.temperature, recipe.greedy, longest, seed),
            several.truncated,
        )


@dataclass(frozen=True, slots=True)
class Asker:
    """Asks the LLM about one unit.

    Args:
        generator: The LLM.
        task: Parses and scores its answers.
    """

    generator: Generator
    task: Task

    async def __call__(self, asked: Asked) -> Told:
        """The unit's feedback; a call that fails costs its own rows and is counted."""
        told = Told(truncated=asked.truncated, began=time.time())
        answers = await asyncio.gather(*(self._ask(request, told) for request in asked.requests))
        told.ended = time.time()
        self._reranker_rows(asked, answers[: len(asked.alone)], told)
        candidates = tuple(answer for answer in answers[len(asked.alone) :] if answer is not None)
        self._adapter_row(asked, candidates, told)
        return told

    async def _ask(self, request: ChatRequest, told: Told) -> Generation | None:
        start = time.monotonic()
        try:
            answer = await self.generator(request)
        except BudgetSpentError as error:
            told.stopped = str(error)
            return None
        except GenerateError as error:
            told.failed[Failure.of(error)] += 1
            log.warning("a call was not answered (%s)", error.kind, exc_info=error)
            return None
        if answer.usage.calls:
            told.usage += answer.usage
            told.seconds += time.monotonic() - start
        else:
            # Tokens of the cache's answers were paid for when they were asked.
            told.usage += Usage(cached=answer.usage.cached)
        told.missing_candidates += request.n - len(answer.texts)
        return answer

    def _reranker_rows(self, asked: Asked, answers: Sequence[Generation | None], told: Told) -> None:
        without, *with_item = [self._score(answer, asked.gold) for answer in answers]
        if without is None:
            return
        for item, score in zip(asked.items, with_item, strict=True):
            if score is not None:
                told.reranker.append(
                    {
                        **asked.about,
                        "item_id": item.id,
                        "item_input": item.input,
                        "item_output": item.output,
                        "score_with": score,
                        "score_without": without,
                    }
                )

    def _adapter_row(self, asked: Asked, answers: tuple[Generation, ...], told: Told) -> None:
        # Of half the answers votes would be other ones than those that the method will see.
        if len(answers) < len(asked.several):
            return
        candidates = distinct_candidates(self.task, joined(answers).texts)
        told.adapter.append(
            {
                **asked.about,
                "gold": asked.gold,
                "history": list(asked.evidence),
                "candidates": [candidate.text for candidate in candidates],
                "votes": [candidate.votes for candidate in candidates],
                "scores": [self.task.score(candidate.text, asked.gold) for candidate in candidates],
            }
        )

    def _score(self, answer: Generation | None, gold: str) -> float | None:
        if answer is None or not answer.texts:
            return None
        return self.task.score(answer.texts[0], gold)


def _about(unit: Unit) -> dict[str, Any]:
    key = unit.query.user
    return {**key._asdict(), "query_id": unit.query.id, "query": unit.query.input, "pseudo": unit.pseudo}


def unit_key(unit: Unit) -> UnitKey:
    """What a unit is known by in the store."""
    return (*unit.query.user, unit.query.id)
