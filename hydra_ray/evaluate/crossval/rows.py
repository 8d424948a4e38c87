"""Out-of-fold rows: a query, all that competed with its scores, what each method answered. A Parquet file a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.atomic import replacing
from hydra_ray.evaluate.crossval.score import Validated, plain_answers
from hydra_ray.steps.vote import consensus

_ANSWER = pa.struct([("name", pa.string()), ("output", pa.string()), ("quality", pa.float32())])
# Which answer the gate gives, the gain of the recipe's own choice that it expects, and the lower bound of that.
_DECISION = pa.struct([("answered", pa.string()), ("gain", pa.float32()), ("low", pa.float32())])
_SOURCE = pa.struct([("prompt", pa.string()), ("votes", pa.int32()), ("greedy", pa.bool_())])
_SCHEMA = pa.schema(
    [
        ("tenant", pa.string()),
        ("user", pa.string()),
        ("query_id", pa.string()),
        ("input", pa.string()),
        ("gold", pa.string()),
        ("repeat", pa.int32()),
        ("fold", pa.int32()),
        ("history_items", pa.int32()),
        ("history", pa.list_(pa.string())),
        ("personal", pa.bool_()),
        (
            "candidates",
            pa.list_(
                pa.struct(
                    [
                        ("text", pa.string()),
                        ("votes", pa.int32()),
                        ("order", pa.int32()),
                        ("sources", pa.list_(_SOURCE)),
                        ("logit", pa.float32()),
                        ("score", pa.float32()),
                        ("quality", pa.float32()),
                    ]
                )
            ),
        ),
        ("output", pa.string()),
        ("quality", pa.float32()),
        ("gate", _DECISION),
        ("controls", pa.list_(_ANSWER)),
        ("plain", pa.list_(_ANSWER)),
    ]
)


def write_rows(path: Path, validated: Validated, recipe: str) -> None:
    """Write the rows of one recipe: one for each repeat and query, in the order in which they were answered.

    `quality` is the task's score of an answer against the user's own, 0 to 1; `score` is what candidates are ranked by.

    Args:
        path: The file.
        validated: The task's answers.
        recipe: Name of the recipe.
    """
    table = pa.Table.from_pylist(list(_rows(validated, recipe)), schema=_SCHEMA)
    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def _rows(validated: Validated, recipe: str) -> Iterator[dict[str, Any]]:
    task = validated.task
    plain = {
        (one.example.query.user, one.example.query.id): plain_answers(task, one, validated.prompts)
        for one in validated.asked
    }
    for gated in validated.gated[recipe]:
        answer, decision = gated.answer, gated.decision
        contest = answer.contest
        query, gold = contest.example.query, contest.example.gold

        def scored(outputs: Mapping[str, str], gold: str = gold) -> list[dict[str, Any]]:
            return [{"name": name, "output": text, "quality": task.score(text, gold)} for name, text in outputs.items()]

        agreed = consensus(task, contest.said)
        controls = {
            "shared-head": answer.shared,
            "other-head": answer.other,
            "majority-vote": agreed[0].text if agreed else "",
            "gated": gated.output,
        }
        yield {
            "tenant": query.user.tenant,
            "user": query.user.user,
            "query_id": query.id,
            "input": query.input,
            "gold": gold,
            "repeat": answer.repeat,
            "fold": answer.fold,
            "history_items": len(contest.example.history),
            "history": list(contest.history_answers),
            "personal": answer.personal,
            "candidates": [
                {
                    "text": candidate.text,
                    "votes": candidate.votes,
                    "order": candidate.order,
                    "sources": [asdict(source) for source in candidate.sources],
                    "logit": candidate.logit,
                    "score": candidate.score,
                    "quality": task.score(candidate.text, gold),
                }
                for candidate in answer.ordered
            ],
            "output": answer.output,
            "quality": task.score(answer.output, gold),
            "gate": None
            if decision is None
            else {name: getattr(decision, name) for name in ("answered", "gain", "low")},
            "controls": scored(controls),
            "plain": scored(plain[query.user, query.id]),
        }
