"""Metrics of outputs against gold answers, by kind of task.

Every metric is a function of sums over items: each item has a row of additive statistics, and the
sum of any multiset of rows gives the metric of that multiset. A bootstrap then costs one matrix
product for all its resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics import BLEU

from hydra_ray.records import HydraError
from hydra_ray.tasks import Kind, Task
from hydra_ray.text.rouge import rouge
from hydra_ray.text.words import parted

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number for how good a method's outputs are.

    Attributes:
        name: Key in `METRICS` and in results.
        kind: Kind of task that the metric belongs to; `prepare` makes the statistics of that kind.
        higher_is_better: False for errors.
        main: Whether methods are ranked by it in tasks of this kind.
        value: Function from summed statistics, shape (..., width), to the metric, shape (...).
    """

    name: str
    kind: Kind
    higher_is_better: bool
    main: bool
    value: Callable[[Array], Array]


def prepare(task: Task, outputs: Sequence[str], golds: Sequence[str]) -> Array:
    """Return additive statistics of each item, from which all metrics of the task's kind follow.

    Args:
        task: The task; classification and rating need its labels.
        outputs: Outputs of a method; an empty output is a wrong one.
        golds: The gold answers, in the same order.

    Returns:
        Statistics, shape (items, width); the first column is 1, so that a sum of rows knows its number of items.

    Raises:
        HydraError: The task lacks the labels that its kind needs, or there are no metrics for its kind.
    """
    if task.kind not in _STATISTICS:
        raise HydraError(
            f'task "{task.name}": there are no metrics for kind "{task.kind}", only for {", ".join(_STATISTICS)}'
        )
    if task.kind != "generation" and not task.labels:
        raise HydraError(f'task "{task.name}": {task.kind} is scored over a closed set of labels, and none are set')
    columns = _STATISTICS[task.kind](task, outputs, golds)
    return np.hstack([np.ones((len(outputs), 1)), columns])


def metrics_of(kind: Kind) -> tuple[Metric, ...]:
    """Return the metrics of a kind of task, the main one first."""
    return tuple(metric for metric in METRICS.values() if metric.kind == kind)


def _class_counts(task: Task, outputs: Sequence[str], golds: Sequence[str]) -> Array:
    """One-hot rows: the label if it is right, the label given, the gold label; shape (items, 3 * labels)."""
    given, gold = _one_hot(task, outputs), _one_hot(task, golds)
    return np.hstack([given * gold, given, gold])


def _one_hot(task: Task, answers: Sequence[str]) -> Array:
    # What is none of the labels gets the extra last column, which is cut off: it is wrong for its gold
    # label and is no label's false positive, as -1 is in LaMP's evaluation.
    index = {label: place for place, label in enumerate(task.labels)}
    classes = [index.get(task.parse(answer) or "", -1) for answer in answers]
    rows: Array = np.eye(len(task.labels) + 1)[classes][:, :-1]
    return rows


def _accuracy(sums: Array) -> Array:
    right, _, _ = np.split(sums[..., 1:], 3, axis=-1)
    accuracy: Array = right.sum(axis=-1) / sums[..., 0]
    return accuracy


def _macro_f1(sums: Array) -> Array:
    # All labels of the task count, also those that occur in neither outputs nor golds (F1 of 0), as in LaMP.
    right, given, gold = np.split(sums[..., 1:], 3, axis=-1)
    f1: Array = np.mean(2 * right / np.maximum(given + gold, 1), axis=-1)
    return f1


def _rating_errors(task: Task, outputs: Sequence[str], golds: Sequence[str]) -> Array:
    """Absolute and squared error; no rating counts as the end of the scale that is farther from gold."""
    low, high = float(task.labels[0]), float(task.labels[-1])

    def error(output: str, gold: float) -> float:
        parsed = task.parse(output)
        return max(gold - low, high - gold) if parsed is None else abs(float(parsed) - gold)

    errors = np.array([error(output, float(gold)) for output, gold in zip(outputs, golds, strict=True)])
    return np.column_stack([errors, errors**2])


def _text_overlap(task: Task, outputs: Sequence[str], golds: Sequence[str]) -> Array:
    """ROUGE-1 and ROUGE-L (F measure), then BLEU's sufficient statistics (see `_bleu`)."""
    return np.array([_overlap(output, gold) for output, gold in zip(outputs, golds, strict=True)], dtype=float)


# Methods, controls and seeds answer much alike, and a pair of texts takes half a millisecond.
@lru_cache(maxsize=200_000)
def _overlap(output: str, gold: str) -> tuple[float, ...]:
    bleu = _bleu_scorer().sentence_score(parted(output), [parted(gold)])
    return (*rouge(output, gold), bleu.sys_len, bleu.ref_len, *bleu.counts, *bleu.totals)


def _bleu(sums: Array) -> Array:
    """Corpus BLEU, 0 to 100, of summed lengths (output, gold), n-gram matches and n-gram totals."""
    rows = sums[..., 3:].reshape(-1, 10).astype(int).tolist()
    scores = [
        BLEU.compute_bleu(row[2:6], row[6:], row[0], row[1], smooth_method=_bleu_scorer().smooth_method).score
        for row in rows
    ]
    return np.array(scores).reshape(sums.shape[:-1])


@cache
def _bleu_scorer() -> BLEU:
    # Effective order only keeps sentence_score from warning: counts and totals are the same without it.
    return BLEU(effective_order=True)


def _mean(column: int) -> Callable[[Array], Array]:
    return lambda sums: sums[..., column] / sums[..., 0]


def _root_mean(column: int) -> Callable[[Array], Array]:
    return lambda sums: np.sqrt(sums[..., column] / sums[..., 0])


_STATISTICS: dict[Kind, Callable[[Task, Sequence[str], Sequence[str]], Array]] = {
    "classification": _class_counts,
    "rating": _rating_errors,
    "generation": _text_overlap,
}

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "classification", higher_is_better=True, main=True, value=_accuracy),
        Metric("macro_f1", "classification", higher_is_better=True, main=False, value=_macro_f1),
        Metric("mae", "rating", higher_is_better=False, main=True, value=_mean(1)),
        Metric("rmse", "rating", higher_is_better=False, main=False, value=_root_mean(2)),
        Metric("rouge_1", "generation", higher_is_better=True, main=True, value=_mean(1)),
        Metric("rouge_l", "generation", higher_is_better=True, main=False, value=_mean(2)),
        Metric("bleu", "generation", higher_is_better=True, main=False, value=_bleu),
    )
}
