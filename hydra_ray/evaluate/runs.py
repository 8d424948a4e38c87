"""Run records: answers with prompts, candidates and scores, enough to evaluate again without any LLM.

Each run is one Parquet file, for one task, split, training seed and method. It can be read without hydra-ray.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.atomic import replacing
from hydra_ray.records import Answer, Candidate, GateDecision, HydraError, Message, Query, Source, Usage, UserKey
from hydra_ray.steps.generate.failures import Failure, UnfinishedError, by_kind, listed
from hydra_ray.steps.profiles.profile import Readable
from hydra_ray.tasks import Task

SCHEMA = "hydra-ray/dump/v5"
# The fourth did not say what the gate decided, the third not which prompts gave a candidate; the second said of a query
# without an answer that it failed, and not why.
_FORMER = ("hydra-ray/dump/v4", "hydra-ray/dump/v3", "hydra-ray/dump/v2")

_ABOUT = b"hydra-ray"
_UNKNOWN = Failure("other", "the reason was not kept")
_ROWS = pa.schema(
    [
        ("tenant", pa.string()),
        ("user", pa.string()),
        ("query_id", pa.string()),
        ("input", pa.string()),
        ("item_id", pa.string()),
        ("seen", pa.bool_()),
        ("history_items", pa.int32()),
        ("most_frequent", pa.string()),
        ("cohort", pa.string()),
        ("gold", pa.string()),
        ("output", pa.string()),
        ("failure", pa.string()),
        ("reason", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("shown", pa.list_(pa.string())),
        (
            "candidates",
            pa.list_(
                pa.struct(
                    [
                        ("text", pa.string()),
                        ("votes", pa.int32()),
                        ("order", pa.int32()),
                        ("logit", pa.float32()),
                        ("score", pa.float32()),
                        (
                            "sources",
                            pa.list_(
                                pa.struct([("prompt", pa.string()), ("votes", pa.int32()), ("greedy", pa.bool_())])
                            ),
                        ),
                    ]
                )
            ),
        ),
        ("head", pa.string()),
        ("gate", pa.struct([("answered", pa.string()), ("gain", pa.float32()), ("low", pa.float32())])),
        ("degraded", pa.list_(pa.string())),
        ("truncated", pa.int32()),
        ("calls", pa.int32()),
        ("cached", pa.int32()),
        ("prompt_tokens", pa.int32()),
        ("completion_tokens", pa.int32()),
        ("seconds", pa.float32()),
    ],
)


@dataclass(frozen=True, slots=True)
class EvalQuery:
    """A query as evaluation asks it, with what is known of it whatever the method.

    Attributes:
        query: The query as it was asked.
        gold: The user's own answer.
        history_items: Number of history items that the query may see.
        most_frequent: Most frequent answer in that history, the newest of equals; "" without history.
        seen: Whether anybody in training has the item that the query is about; None where the data names no items.
        cohort: Cohort of the user; "" where no search found cohorts.
    """

    query: Query
    gold: str
    history_items: int = 0
    most_frequent: str = ""
    seen: bool | None = None
    cohort: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One method's answer to one query.

    Attributes:
        asked: The query, with what is known of it.
        answer: Answer of the method; None where there is none.
        seconds: Seconds from the query to the answer, in this process.
        failure: Reason why there is no answer; a final one counts as wrong, any other leaves the run unfinished.
    """

    asked: EvalQuery
    answer: Answer | None
    seconds: float = 0.0
    failure: Failure | None = None

    @property
    def user(self) -> UserKey:
        """The user who asked."""
        return self.asked.query.user

    @property
    def finished(self) -> bool:
        """Whether there is an answer or a final failure, so that asking again would end the same way."""
        return self.answer is not None or (self.failure is not None and self.failure.final)

    @property
    def output(self) -> str:
        """The answer's text, "" where there is none."""
        return self.answer.text if self.answer else ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Answers of one method in one experiment.

    Attributes:
        task: Task as the data defines it.
        split: Split of the data that was evaluated.
        method: Name of the method or control.
        seed: Training seed.
        vote_weight: Weight of the LLM's vote where a head has none of its own; candidates can be chosen again with it.
        train_users: Number of users that the base was trained on; 0 for methods without a base, or if not known.
        rows: One row for each query.
        judged: Scores that the reranker gives history items, each with whether the item helped the LLM; only runs of
            `hydra` and `hydra-reranker` have any.
        fingerprint: Digest of all that the answers depend on; a finished run with an equal one is not repeated.
        beside: Usage of the LLM besides the answers: for profiles, which are written once a user.
        expected: Whether the candidate with the highest expected score answers; else the most preferred one does.
        allowed_answers: Largest size of a closed answer set at which all its answers competed as candidates.
        read: Items that were compared with others' for profiles, by when the LLM's answer could be read.
    """

    task: Task
    split: str
    method: str
    seed: int
    rows: tuple[Row, ...]
    vote_weight: float = 1.0
    train_users: int = 0
    judged: tuple[tuple[float, bool], ...] = field(default=(), repr=False)
    fingerprint: str = ""
    expected: bool = False
    beside: Usage = field(default_factory=Usage)
    allowed_answers: int = 0
    read: Mapping[Readable, int] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every query has an answer or a final failure."""
        return all(row.finished for row in self.rows)


def write_run(path: Path, record: RunRecord) -> None:
    """Write a run record as a whole or not at all."""
    about = {
        "schema": SCHEMA,
        "task": record.task.to_json(),
        "split": record.split,
        "method": record.method,
        "seed": record.seed,
        "vote_weight": record.vote_weight,
        "train_users": record.train_users,
        "judged": [[score, helped] for score, helped in record.judged],
        "made_of": record.fingerprint,
        "expected": record.expected,
        "beside": asdict(record.beside),
        "allowed_answers": record.allowed_answers,
        "read": dict(record.read),
    }
    table = pa.Table.from_pylist([_to_columns(row) for row in record.rows], schema=_ROWS)
    with replacing(path) as partial:
        pq.write_table(table.replace_schema_metadata({_ABOUT: json.dumps(about)}), partial, compression="zstd")


def read_run(path: Path) -> RunRecord:
    """Read a run record.

    Raises:
        HydraError: The file is missing, or holds no run record that this version reads.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise HydraError(f"{path}: no such file; hydra-ray evaluate writes dumps") from None
    except pa.ArrowInvalid as error:
        raise HydraError(f"{path}: not a Parquet file: {error}") from None
    about = json.loads((table.schema.metadata or {}).get(_ABOUT, b"{}"))
    if about.get("schema") not in (SCHEMA, *_FORMER):
        raise HydraError(f'{path}: the schema is "{about.get("schema")}", this version reads "{SCHEMA}"')
    return RunRecord(
        Task.from_json(about["task"]),
        about["split"],
        about["method"],
        about["seed"],
        tuple(_from_columns(columns) for columns in table.to_pylist()),
        about["vote_weight"],
        about["train_users"],
        tuple((score, helped) for score, helped in about["judged"]),
        about["made_of"],
        about["expected"],
        Usage(**about["beside"]),
        about["allowed_answers"],
        # Runs of before it was counted have none.
        about.get("read", {}),
    )


def read_runs(folder: Path) -> list[RunRecord]:
    """Read all run records in a folder, and in folders below it that are called `dumps`, in the order of their paths.

    Raises:
        HydraError: There is none, or one cannot be read.
    """
    paths = sorted({*folder.glob("*.parquet"), *folder.rglob("dumps/*.parquet")})
    if not paths:
        raise HydraError(f"{folder}: there are no dumps; hydra-ray evaluate writes them")
    return [read_run(path) for path in paths]


def check_whole(records: Iterable[RunRecord]) -> None:
    """Refuse run records with queries still to be asked: they are no results.

    Raises:
        UnfinishedError: Queries are still to be asked; the message names the runs and the reasons.
    """
    left = Counter(
        (record.method, row.failure or _UNKNOWN) for record in records for row in record.rows if not row.finished
    )
    if not left:
        return
    methods, reasons = Counter[str](), Counter[Failure]()
    for (method, failure), count in left.items():
        methods[method] += count
        reasons[failure] += count
    runs = ", ".join(f"{method} {count}" for method, count in methods.items())
    raise UnfinishedError(
        f"unfinished, so there are no scores yet. Queries without an answer: {runs}; why: {listed(by_kind(reasons))}. "
        "What was answered is kept: `hydra-ray evaluate` with the same settings asks just the rest"
    )


def _to_columns(row: Row) -> dict[str, Any]:
    asked, answer = row.asked, row.answer or Answer(row.asked.query.id, "")
    query, failure = asked.query, None if row.answer else row.failure or _UNKNOWN
    return {
        **query.user._asdict(),
        "query_id": query.id,
        "input": query.input,
        "item_id": query.item_id,
        "seen": asked.seen,
        "history_items": asked.history_items,
        "most_frequent": asked.most_frequent,
        "cohort": asked.cohort,
        "gold": asked.gold,
        "output": answer.text,
        "failure": failure.kind if failure else None,
        "reason": failure.reason if failure else None,
        "prompt": [{"role": message.role, "content": message.content} for message in answer.prompt],
        "shown": [ranked.item.id for ranked in answer.history],
        "candidates": [
            {
                "text": c.text,
                "votes": c.votes,
                "order": c.order,
                "logit": c.logit,
                "score": c.score,
                "sources": [asdict(source) for source in c.sources],
            }
            for c in answer.candidates
        ],
        "head": answer.head,
        "gate": _gate_columns(answer.gate),
        "degraded": list(answer.degraded),
        "truncated": answer.truncated,
        "calls": answer.usage.calls,
        "cached": answer.usage.cached,
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "seconds": row.seconds,
    }


def _from_columns(columns: dict[str, Any]) -> Row:
    query = Query(
        columns["query_id"], UserKey(columns["tenant"], columns["user"]), columns["input"], item_id=columns["item_id"]
    )
    about = {name: columns[name] for name in ("gold", "history_items", "most_frequent", "seen", "cohort")}
    answer, failure = None, _failure(columns)
    if failure is None:
        answer = Answer(
            query_id=query.id,
            text=columns["output"],
            candidates=tuple(map(_candidate, columns["candidates"])),
            degraded=tuple(columns["degraded"]),
            head=columns["head"],
            usage=Usage(*(columns[name] for name in ("calls", "prompt_tokens", "completion_tokens", "cached"))),
            truncated=columns["truncated"],
            prompt=tuple(Message(**message) for message in columns["prompt"]),
            gate=_gate(columns.get("gate"), columns["output"]),
        )
    return Row(EvalQuery(query, **about), answer, columns["seconds"], failure)


def _candidate(columns: dict[str, Any]) -> Candidate:
    sources = tuple(Source(**source) for source in columns.get("sources") or ())
    return Candidate(**{**columns, "sources": sources})


def _gate_columns(gate: GateDecision | None) -> dict[str, Any] | None:
    # Its text is the output.
    return None if gate is None else {"answered": gate.answered, "gain": gate.gain, "low": gate.low}


def _gate(columns: dict[str, Any] | None, output: str) -> GateDecision | None:
    return None if columns is None else GateDecision(columns["answered"], output, columns["gain"], columns["low"])


def _failure(columns: dict[str, Any]) -> Failure | None:
    if "failed" in columns:
        return _UNKNOWN if columns["failed"] else None
    return None if columns["failure"] is None else Failure(columns["failure"], columns["reason"])
