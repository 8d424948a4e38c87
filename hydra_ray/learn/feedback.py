"""Asks the LLM what history helps it and what it would answer, and keeps the scores as Parquet."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.learn.plan import Unit
from hydra_ray.methods import Recipe
from hydra_ray.records import ADAPTER_FEEDBACK, RERANKER_FEEDBACK, ChatRequest, Generation, HydraError, Usage, UserKey
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.generate import GenerateError, Generator
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.retrieve import lexical
from hydra_ray.steps.seeds import stable_seed

# A kill costs at most the units of one part; with a generator cache, not even their calls.
UNITS_PER_PART = 32

_UNITS = pa.schema(
    [("tenant", pa.string()), ("user", pa.string()), ("query_id", pa.string()), ("failed_calls", pa.int32())]
)
_SCHEMAS = {"reranker": RERANKER_FEEDBACK, "adapter": ADAPTER_FEEDBACK, "units": _UNITS}
UnitKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What a collection did.

    Attributes:
        units: Queries asked now.
        kept: Queries that were already there.
        usage: Calls and tokens.
        failed_calls: Calls that gave no answer; each cost one sample.
        missing_candidates: Samples asked for and not returned.
        truncated: Texts cut to fit the prompt.
    """

    units: int = 0
    kept: int = 0
    usage: Usage = field(default_factory=Usage)
    failed_calls: int = 0
    missing_candidates: int = 0
    truncated: int = 0

    def __str__(self) -> str:
        return (
            f"{self.units} queries asked, {self.kept} were there already: {self.usage.calls} LLM calls "
            f"({self.usage.cached} more from the cache), {self.usage.prompt_tokens} tokens in, "
            f"{self.usage.completion_tokens} out. {self.failed_calls} calls failed, {self.missing_candidates} "
            f"candidates were not returned, {self.truncated} texts were cut."
        )


@dataclass(slots=True)
class _Rows:
    """What one unit yields."""

    reranker: list[dict[str, Any]] = field(default_factory=list)
    adapter: list[dict[str, Any]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    failed_calls: int = 0
    missing_candidates: int = 0
    truncated: int = 0


class FeedbackStore:
    """A folder of Parquet parts. A part counts once its units file is there, which is written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def parts(self) -> list[int]:
        """Numbers of the complete parts."""
        return sorted(int(path.name.split(".")[0]) for path in self._folder.glob("*.units.parquet"))

    def done(self) -> set[UnitKey]:
        """Units whose feedback is kept."""
        rows = self.read("units")
        return {(row["tenant"], row["user"], row["query_id"]) for row in rows}

    def read(self, what: str, users: Iterable[UserKey] | None = None) -> list[dict[str, Any]]:
        """Rows of `reranker`, `adapter` or `units`, in order of their parts; of the given users only."""
        tables = [pq.read_table(self._path(part, what), schema=_SCHEMAS[what]) for part in self.parts()]
        rows: list[dict[str, Any]] = pa.concat_tables(tables).to_pylist() if tables else []
        if users is None:
            return rows
        wanted = set(users)
        return [row for row in rows if (row["tenant"], row["user"]) in wanted]

    def write(self, part: int, rows: Mapping[str, Sequence[dict[str, Any]]]) -> None:
        """Writes one part."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for what in ("reranker", "adapter", "units"):
            path = self._path(part, what)
            partial = path.with_suffix(".partial")
            pq.write_table(pa.Table.from_pylist(list(rows[what]), schema=_SCHEMAS[what]), partial)
            os.replace(partial, path)

    def _path(self, part: int, what: str) -> Path:
        return self._folder / f"{part:05d}.{what}.parquet"


@dataclass(slots=True)
class Asker:
    """Asks the LLM about one unit.

    Args:
        generator: The LLM.
        prompter: Writes its prompts.
        recipe: Shots, candidates and temperature, as the method that is trained will use them.
        items: Most retrieved items tried one at a time.
        last_error: Of the call that failed last.
    """

    generator: Generator
    prompter: Prompter
    recipe: Recipe
    items: int
    last_error: GenerateError | None = None

    async def __call__(self, unit: Unit) -> _Rows:
        """The unit's feedback; a call that fails costs its own rows and is counted."""
        rows = _Rows()
        found = lexical(unit.query, unit.history, max(self.items, self.recipe.evidence, self.recipe.shots))
        shots = [ranked.item for ranked in found]
        asks = [self._one_answer(unit, []), *(self._one_answer(unit, [item]) for item in shots[: self.items])]
        candidates_ask = self._request(
            unit, shots[: self.recipe.shots], self.recipe.candidates, self.recipe.temperature, rows
        )
        *answers, candidates = await asyncio.gather(*(self._ask(a, rows) for a in [*asks, candidates_ask]))
        self._reranker_rows(unit, shots[: self.items], answers, rows)
        evidence = [item.output for item in shots[: self.recipe.evidence]]
        self._adapter_row(unit, evidence, candidates, rows)
        return rows

    def _one_answer(self, unit: Unit, shots: list[Any]) -> ChatRequest:
        # Texts cut here are cut again, and counted, in the candidates' prompt.
        return self._request(unit, shots, 1, 0.0, _Rows())

    def _request(self, unit: Unit, shots: list[Any], n: int, temperature: float, rows: _Rows) -> ChatRequest:
        prompt = self.prompter(unit.query.input, shots)
        rows.truncated += prompt.truncated
        seed = stable_seed(self.recipe.seed, unit.query.user, unit.query.id)
        return ChatRequest(prompt.messages, n, temperature, self.prompter.task.max_tokens, seed)

    async def _ask(self, request: ChatRequest, rows: _Rows) -> Generation | None:
        try:
            answer = await self.generator(request)
        except GenerateError as error:
            self.last_error = error
            rows.failed_calls += 1
            return None
        rows.usage += answer.usage
        rows.missing_candidates += request.n - len(answer.texts)
        return answer

    def _reranker_rows(self, unit: Unit, items: list[Any], answers: list[Generation | None], rows: _Rows) -> None:
        without, *with_item = [self._score(answer, unit.gold) for answer in answers]
        if without is None:
            return
        for item, score in zip(items, with_item, strict=True):
            if score is not None:
                rows.reranker.append(
                    {
                        **_about(unit),
                        "item_id": item.id,
                        "item_input": item.input,
                        "item_output": item.output,
                        "score_with": score,
                        "score_without": without,
                    }
                )

    def _adapter_row(self, unit: Unit, evidence: list[str], answer: Generation | None, rows: _Rows) -> None:
        if answer is None:
            return
        task = self.prompter.task
        candidates = distinct_candidates(task, answer.texts)
        rows.adapter.append(
            {
                **_about(unit),
                "gold": unit.gold,
                "history": evidence,
                "candidates": [candidate.text for candidate in candidates],
                "votes": [candidate.votes for candidate in candidates],
                "scores": [task.score(candidate.text, unit.gold) for candidate in candidates],
            }
        )

    def _score(self, answer: Generation | None, gold: str) -> float | None:
        if answer is None or not answer.texts:
            return None
        return self.prompter.task.score(answer.texts[0], gold)


def _about(unit: Unit) -> dict[str, Any]:
    key = unit.query.user
    return {**key._asdict(), "query_id": unit.query.id, "query": unit.query.input, "pseudo": unit.pseudo}


def unit_key(unit: Unit) -> UnitKey:
    """What a unit is known by in the store."""
    return (*unit.query.user, unit.query.id)


async def collect(
    units: Sequence[Unit], asker: Asker, store: FeedbackStore, progress: Callable[[CollectReport], None]
) -> CollectReport:
    """Asks about the units that the store lacks, part by part.

    Args:
        units: The plan; the parts follow its order.
        asker: Asks the LLM.
        store: Killed at any moment and started again, it goes on after the last complete part.
        progress: Called after each part.

    Raises:
        HydraError: Every call for a whole part failed: the generator is down, and going on would
            record nothing but failures.
    """
    done = store.done()
    todo = [unit for unit in units if unit_key(unit) not in done]
    report = CollectReport(kept=len(units) - len(todo))
    next_part = max(store.parts(), default=-1) + 1
    for number, start in enumerate(range(0, len(todo), UNITS_PER_PART)):
        part = todo[start : start + UNITS_PER_PART]
        answers = await asyncio.gather(*(asker(unit) for unit in part))
        if not any(rows.usage.calls or rows.usage.cached for rows in answers):
            failed = sum(rows.failed_calls for rows in answers)
            raise HydraError(
                f"the generator failed at all {failed} calls for {len(part)} queries in a row, the last with: "
                f"{asker.last_error}. The feedback of {report.units} queries before is kept"
            )
        store.write(
            next_part + number,
            {
                "reranker": [row for rows in answers for row in rows.reranker],
                "adapter": [row for rows in answers for row in rows.adapter],
                "units": [
                    {**_about(unit), "failed_calls": rows.failed_calls}
                    for unit, rows in zip(part, answers, strict=True)
                ],
            },
        )
        for rows in answers:
            report = replace(
                report,
                units=report.units + 1,
                usage=report.usage + rows.usage,
                failed_calls=report.failed_calls + rows.failed_calls,
                missing_candidates=report.missing_candidates + rows.missing_candidates,
                truncated=report.truncated + rows.truncated,
            )
        progress(report)
    return report
