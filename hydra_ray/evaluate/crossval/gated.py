"""What the gate would have given: fitted on out-of-fold rows of other folds' users, asked about those held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.evaluate.crossval.validate import HeldOutAnswer
from hydra_ray.learn.gate.rows import JudgedQuery, best_plain, gate_rows
from hydra_ray.models.gate_fit import fit_gate
from hydra_ray.records import GateDecision
from hydra_ray.settings import GateSettings
from hydra_ray.steps.gating import FEATURES, HYDRA, Gating, plain_answers
from hydra_ray.tasks import Task


@dataclass(frozen=True, slots=True)
class GatedAnswer:
    """A recipe's answer as the gate gives it.

    Attributes:
        answer: The recipe's own choice.
        decision: What the gate decided; None where the LLM said nothing, or nobody else tells anything.
        plain: The plain answer that the gate gives where the choice does not pass; without one the choice.
        is_closed: Whether the gate lets nothing through.
    """

    answer: HeldOutAnswer
    decision: GateDecision | None
    plain: str
    is_closed: bool

    @property
    def output(self) -> str:
        """The answer that is given."""
        return self.answer.output if self.decision is None else self.decision.text

    @property
    def differs(self) -> bool:
        """Whether the recipe's choice and the plain answer differ: only then there is anything to decide."""
        return self.decision is not None and (self.passes or self.decision.text != self.answer.output)

    @property
    def passes(self) -> bool:
        """Whether the recipe's choice is given, and differs from the plain answer."""
        return self.decision is not None and self.decision.answered == HYDRA


def gated_answers(task: Task, answers: Sequence[HeldOutAnswer], wanted: GateSettings) -> list[GatedAnswer]:
    """Return the answers of one recipe as a gate gives them that has seen no answer of their users.

    In each repeat the gate of a fold is fitted on the rows of all other folds, and the plain answer is the one that is
    best on their users. Those rows were judged by bases that have learnt of the held-out users, too: gates that know
    nothing of them at all would take a training of each pair of folds.

    Args:
        task: Task that scores answers.
        answers: Out-of-fold answers of the recipe, of any number of repeats.
        wanted: Caution, and number of users below which a gate lets nothing through.
    """
    judged = {id(one): _judged(task, one) for one in answers}
    found = []
    for repeat in dict.fromkeys(one.repeat for one in answers):
        own = [one for one in answers if one.repeat == repeat]
        for fold in dict.fromkeys(one.fold for one in own):
            others = [judged[id(one)] for one in own if one.fold != fold]
            held_out = [one for one in own if one.fold == fold]
            found += _gated(task, [one for one in others if one is not None], held_out, wanted)
    return found


def _gated(
    task: Task, others: Sequence[JudgedQuery], held_out: Sequence[HeldOutAnswer], wanted: GateSettings
) -> list[GatedAnswer]:
    if not others:
        return [GatedAnswer(one, None, one.output, True) for one in held_out]
    plain = best_plain(task, others)
    rows = gate_rows(task, others, plain)
    among = len({one.ask.query.user for one in others})
    gate = fit_gate(rows, plain, FEATURES, caution=wanted.caution, least_users=wanted.least_users, among=among)
    gating = Gating(gate, task)
    found = []
    for one in held_out:
        decision = gating(one.ask, one.ordered) if one.ordered else None
        fallback = gating.plain(one.ordered)
        found.append(GatedAnswer(one, decision, one.output if fallback is None else fallback[1].text, gate.is_closed))
    return found


def _judged(task: Task, answer: HeldOutAnswer) -> JudgedQuery | None:
    plain = plain_answers(task, answer.ordered)
    return JudgedQuery(answer.ask, answer.ordered, plain, answer.contest.example.gold) if plain else None
