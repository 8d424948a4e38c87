"""Whether a loaded version computes what it computed when it was published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra_ray.models.base import RERANKER
from hydra_ray.records import HistoryItem, HydraError
from hydra_ray.registry.manifest import Decision, Probes
from hydra_ray.steps.texts import adapter_texts, reranker_texts
from hydra_ray.tasks import Task

if TYPE_CHECKING:
    from hydra_ray.models.base import Base
    from hydra_ray.models.scorer import Scorer

# Between float32 and bfloat16, logits differ by less than a tenth of their spread (docs/training.md): 0.2 to 4 %, and
# never by more than 0.08, on the bases that were looked at.
_SHARE_OF_SPREAD, _AT_LEAST = 0.1, 0.02

_QUERIES = ("two friends go on a long journey and only one of them comes back", "how do I keep my plants alive")
_ANSWERS = (
    "yes",
    "a quiet comedy about trains",
    "Water them once a week.",
    "no",
    "adventure",
    "It depends on the light.",
)
# Like no answer: an equal one would make a score that all others are small beside.
_PAST = ("three letters from a friend", "the green one")
_MOST_LABELS = 6


def probe_decisions(task: Task, role: str) -> tuple[Decision, ...]:
    """Return the decisions that a role is probed with: fixed texts, and some of the task's own answers."""
    answers = (*task.labels[:_MOST_LABELS],) or _ANSWERS
    if role == RERANKER:
        items = [HistoryItem(str(place), _QUERIES[place % 2], answer) for place, answer in enumerate(answers)]
        return tuple(reranker_texts(query, item) for query in _QUERIES for item in items)
    return tuple(
        adapter_texts(answer, query, past)
        for query, past in zip(_QUERIES, ((), _PAST), strict=True)
        for answer in answers
    )


def take_probes(base: Base) -> dict[str, Probes]:
    """Ask all roles of a base, for its manifest."""
    return {role: _probe(base.scorer(role), probe_decisions(base.task, role)) for role in base.roles}


def check_probes(version: str, role: str, scorer: Scorer, probes: Probes) -> None:
    """Refuse a scorer that computes something else than its manifest says.

    What may differ is what differs between arithmetics, and a little: a tenth of the logits' spread.

    Raises:
        HydraError: It does; the message says by how much.
    """
    found = _scores(scorer, probes.decisions)
    spread = max(probes.scores) - min(probes.scores)
    allowed = _AT_LEAST + _SHARE_OF_SPREAD * spread
    off = max(abs(here - there) for here, there in zip(found, probes.scores, strict=True))
    # Not a number is never within.
    if not off <= allowed or not all(map(math.isfinite, found)):
        raise HydraError(
            f"version {version} fails its check: the {role}'s scores are off by {off:.3g} from those of its manifest, "
            f"which may be {allowed:.3g}"
        )


def _probe(scorer: Scorer, decisions: tuple[Decision, ...]) -> Probes:
    return Probes(precision=scorer.encoder.arithmetic, decisions=decisions, scores=tuple(_scores(scorer, decisions)))


def _scores(scorer: Scorer, decisions: Sequence[Decision]) -> list[float]:
    scores: list[float] = scorer.score(list(decisions), [None] * len(decisions)).tolist()
    return scores
