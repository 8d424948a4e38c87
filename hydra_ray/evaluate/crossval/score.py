"""Scores a cross-validation: recipes, their controls and plain methods on the same resamples of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydra_ray.bootstrap import gain, interval, two_sided_p
from hydra_ray.data.dataset import Dataset
from hydra_ray.evaluate.crossval.asking import AskedQuery
from hydra_ray.evaluate.crossval.gated import GatedAnswer
from hydra_ray.evaluate.crossval.recipes import VOTE, TriedPrompt, TriedRecipe
from hydra_ray.evaluate.crossval.result import Difference, GatedResult, Overall, RecipeResult, TaskValidation
from hydra_ray.evaluate.crossval.validate import HeldOutAnswer
from hydra_ray.evaluate.never_worse import AgainstPlain
from hydra_ray.evaluate.runner.annotate import Knowledge
from hydra_ray.evaluate.scoring.against_plain import compared_with_plain
from hydra_ray.evaluate.scoring.align import AlignedRuns
from hydra_ray.evaluate.scoring.controls import best_candidate, yardsticks
from hydra_ray.evaluate.scoring.headline import HeadlineRows, best_on_others, headline_of, over_tasks
from hydra_ray.evaluate.scoring.metrics import Array
from hydra_ray.evaluate.scoring.scoreboard import Scoreboard
from hydra_ray.records import UserKey
from hydra_ray.settings import EvaluateSettings
from hydra_ray.steps.adapt import distinct_candidates
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.vote import consensus
from hydra_ray.tasks import Task

BEST_PLAIN = "best plain"
CONTROLS = ("shared-head", "other-head", "majority-vote", "best-candidate")
_GATED, _GIVEN_PLAIN = "gated", "plain"


@dataclass(frozen=True, slots=True)
class Validated:
    """One task's answers.

    Attributes:
        task: The task.
        dataset: All users.
        asked: What the LLM said to each query.
        prompts: Ways in which it was asked.
        answers: Answers by recipe: repeat after repeat, each over all queries.
        gated: The same answers as gates give them, by recipe.
        seconds: Seconds that each recipe took.
    """

    task: Task
    dataset: Dataset
    asked: Sequence[AskedQuery]
    prompts: Sequence[TriedPrompt]
    answers: Mapping[str, Sequence[HeldOutAnswer]]
    gated: Mapping[str, Sequence[GatedAnswer]]
    seconds: Mapping[str, float]


def plain_answers(task: Task, asked: AskedQuery, prompts: Sequence[TriedPrompt]) -> dict[str, str]:
    """Return what each plain method answers: a prompt's first answer, and what all of its answers agree on.

    Where one is asked greedily its first answer is that one. A prompt with a single answer has no vote.
    """
    found = {}
    for prompt in prompts:
        samples = asked.samples[prompt.name]
        first = distinct_candidates(task, samples[:1])
        found[prompt.name] = first[0].text if first else ""
        if prompt.samples > 1:
            agreed = consensus(task, distinct_candidates(task, samples))
            found[prompt.name + VOTE] = agreed[0].text if agreed else ""
    return found


def score_task(
    validated: Validated, recipes: Sequence[TriedRecipe], wanted: EvaluateSettings, seed: int
) -> tuple[TaskValidation, dict[str, HeadlineRows]]:
    """Return one task's results, and each recipe's part of the means over tasks, without its gate and with it.

    Args:
        validated: The task's answers.
        recipes: The recipes; each is compared with the first.
        wanted: Number of resamples, of repeats and of folds.
        seed: Seed of resampling, and of the folds by which the best plain method is chosen.
    """
    task_seed = stable_seed(seed, validated.task.name)
    gated = {name: sorted(own, key=lambda one: _place(one.answer)) for name, own in validated.gated.items()}
    ordered = {name: sorted(own, key=_place) for name, own in validated.answers.items()}
    aligned = _aligned(validated, wanted.repeats)
    plain = _plain_outputs(validated, wanted.repeats)
    known = yardsticks(validated.task, aligned.asked)
    outputs = plain | known
    for name, answers in ordered.items():
        outputs |= _outputs(validated.task, name, answers)
        outputs[_control(name, _GATED)] = [one.output for one in gated[name]]
        outputs[_control(name, _GIVEN_PLAIN)] = [one.plain for one in gated[name]]
    board = Scoreboard(aligned, outputs, wanted.bootstrap, task_seed)
    best, chosen = best_on_others(board, list(plain), wanted.folds, task_seed)
    best_values = board.main.value(board.bootstrap.resampled(best))

    def against_plain(method: str) -> AgainstPlain:
        return compared_with_plain(board, method, list(plain), wanted.folds, task_seed).summary()

    items, first = len(aligned.asked), recipes[0].name
    results, rows = {}, {}
    for recipe in recipes:
        controls = {control: _control(recipe.name, control) for control in CONTROLS}
        for method in (recipe.name, _control(recipe.name, _GATED)):
            of_samples = (controls["majority-vote"], controls["best-candidate"])
            if (row := headline_of(board, method, of_samples, best, chosen)) is not None:
                rows[method] = row
        compared = {control: board.mains(method) for control, method in controls.items()}
        compared |= {BEST_PLAIN: best_values} | {name: board.mains(name) for name in plain}
        if recipe.name != first:
            compared[first] = board.mains(first)
        own = board.mains(recipe.name)
        summary = rows[recipe.name].summary() if recipe.name in rows else None
        results[recipe.name] = RecipeResult(
            metrics={name: interval(values, items) for name, values in board.values[recipe.name].items()},
            by_repeat=board.by_seed()[recipe.name],
            controls={control: interval(board.mains(method), items) for control, method in controls.items()},
            relative=summary.relative if summary else None,
            oracle_gap=summary.oracle_gap if summary else None,
            differences=tuple(
                _difference(name, own, other, items, board.main.higher_is_better) for name, other in compared.items()
            ),
            against_plain=against_plain(recipe.name),
            gated=_gated(board, recipe.name, gated[recipe.name], against_plain(_control(recipe.name, _GATED))),
            own_heads=float(np.mean([answer.personal for answer in ordered[recipe.name]])),
            samples=recipe.samples,
        )
    samples = {prompt.name: 1 for prompt in validated.prompts}
    samples |= {prompt.name + VOTE: prompt.samples for prompt in validated.prompts if prompt.samples > 1}
    return (
        TaskValidation(
            task=validated.task.name,
            metrics=tuple(metric.name for metric in board.metrics),
            higher_is_better={metric.name: metric.higher_is_better for metric in board.metrics},
            users=board.bootstrap.users,
            queries=len(validated.asked),
            repeats=wanted.repeats,
            plain={name: interval(board.mains(name), items) for name in (*plain, *known)},
            plain_samples=samples,
            best_plain=interval(best_values, items),
            chosen=dict(chosen),
            recipes=results,
            seconds=validated.seconds,
        ),
        rows,
    )


def _gated(board: Scoreboard, recipe: str, answers: Sequence[GatedAnswer], against_plain: AgainstPlain) -> GatedResult:
    method, plain, items = _control(recipe, _GATED), _control(recipe, _GIVEN_PLAIN), len(answers)
    own, ungated, given = (board.mains(name) for name in (method, recipe, plain))
    higher_is_better = board.main.higher_is_better
    return GatedResult(
        metrics={name: interval(values, items) for name, values in board.values[method].items()},
        plain=interval(given, items),
        over_plain=_difference(plain, own, given, items, higher_is_better),
        against_plain=against_plain,
        over_ungated=_difference(recipe, own, ungated, items, higher_is_better),
        differs=float(np.mean([one.differs for one in answers])),
        passes=float(np.mean([one.passes for one in answers])),
        closed=float(np.mean([one.is_closed for one in answers])),
    )


def overall(rows: Sequence[Mapping[str, HeadlineRows]]) -> dict[str, Overall]:
    """Return the means over tasks of each recipe, and of each with its gate; one without a part in some task has none.

    Args:
        rows: Parts of each task, as `score_task` returns them.
    """
    found = {}
    for name in rows[0] if rows else ():
        own = [by_recipe[name] for by_recipe in rows if name in by_recipe]
        mean = over_tasks(own) if len(own) == len(rows) else None
        if mean is not None:
            found[name] = Overall(mean.relative, mean.oracle_gap)
    return found


def _difference(name: str, own: Array, other: Array, items: int, higher_is_better: bool) -> Difference:
    by = gain(own, other, higher_is_better)
    return Difference(name, interval(by, items), two_sided_p(by))


def _control(recipe: str, control: str) -> str:
    return f"{recipe}/{control}"


def _place(answer: HeldOutAnswer) -> tuple[int, UserKey, str]:
    query = answer.contest.example.query
    return answer.repeat, query.user, query.id


def _asked_in_order(validated: Validated) -> list[AskedQuery]:
    return sorted(validated.asked, key=lambda one: (one.example.query.user, one.example.query.id))


def _aligned(validated: Validated, repeats: int) -> AlignedRuns:
    """Items are all queries once a repeat, as a comparison has them once a training seed."""
    knowledge = Knowledge(validated.dataset, {user.key: user for user in validated.dataset.users}, None, {})
    asked = tuple(knowledge.about(one.example.query) for one in _asked_in_order(validated))
    return AlignedRuns(
        task=validated.task,
        split="train and dev",
        seeds=tuple(range(repeats)),
        seed_of=tuple(repeat for repeat in range(repeats) for _ in asked),
        asked=asked * repeats,
        rows={},
        besides={},
        hydra={},
        smaller=(),
        judged=(),
        read={},
    )


def _plain_outputs(validated: Validated, repeats: int) -> dict[str, list[str]]:
    """Outputs by plain method; they do not depend on the repeat."""
    found = [plain_answers(validated.task, one, validated.prompts) for one in _asked_in_order(validated)]
    return {name: [own[name] for own in found] * repeats for name in found[0]}


def _outputs(task: Task, recipe: str, answers: Sequence[HeldOutAnswer]) -> dict[str, list[str]]:
    """Outputs of a recipe and of its controls."""
    agreed = [consensus(task, one.contest.said) for one in answers]
    by_control = {
        "shared-head": [one.shared for one in answers],
        "other-head": [one.other for one in answers],
        "majority-vote": [own[0].text if own else "" for own in agreed],
        "best-candidate": [best_candidate(one.contest.said, one.contest.example.gold, task) for one in answers],
    }
    return {recipe: [one.output for one in answers]} | {
        _control(recipe, control): texts for control, texts in by_control.items()
    }
