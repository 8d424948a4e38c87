"""One recipe over all folds of one repeat: trained on some users, it answers the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hydra_ray.evaluate.crossval.features import KnownFeatures
from hydra_ray.evaluate.crossval.folds import folds_of
from hydra_ray.evaluate.crossval.material import Contest, Material
from hydra_ray.evaluate.crossval.recipes import TriedRecipe
from hydra_ray.evaluate.scoring.controls import other_users
from hydra_ray.learn.base.in_process import train_adapter_here
from hydra_ray.learn.heads.fitter import fit_heads_here
from hydra_ray.models.heads import Head
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import Candidate, HydraError, UserKey
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import Adapter, AdaptRequest


@dataclass(frozen=True, slots=True)
class HeldOutAnswer:
    """A recipe's answer to a query of somebody whom it has not seen in training.

    Attributes:
        repeat: Number of the repeat, from 0.
        fold: Number of the fold that the user is in.
        contest: What competed for the query.
        ask: What the adapter was asked, with the user's own head.
        ordered: All that competed, best first, under the user's own head.
        shared: Answer under the shared head.
        other: Answer under another held-out user's head; the shared one's where nobody else has a head.
    """

    repeat: int
    fold: int
    contest: Contest
    ask: AdaptRequest
    ordered: tuple[Candidate, ...]
    shared: str
    other: str

    @property
    def output(self) -> str:
        """The answer; "" where the LLM gave none."""
        return self.ordered[0].text if self.ordered else ""

    @property
    def personal(self) -> bool:
        """Whether the user has a head of their own."""
        return self.ask.head is not None


def validate(
    recipe: TriedRecipe, material: Material, features: KnownFeatures, repeat: int
) -> Iterator[list[HeldOutAnswer]]:
    """Yield the answers to held-out users' queries, fold by fold.

    Args:
        recipe: The recipe.
        material: Groups that teach, and what competes for each query, as `make_material` made them for this recipe.
        features: Features of all decisions of the material.
        repeat: Number of the repeat, from 0.

    Raises:
        HydraError: There are fewer users than folds, or nobody teaches.
    """
    settings = recipe.settings
    seed = settings.seed if settings.base.seed is None else settings.base.seed
    # Seeded by the training, too: another training seed is another base on the same folds.
    parts = folds_of(material.contests, settings.evaluate.folds, repeat, settings.seed)
    for fold, held_out in enumerate(parts):
        scorer = _trained(settings, material, features, held_out, seed + repeat)
        heads = fit_heads_here({user: material.held_out[user] for user in sorted(held_out)}, scorer, settings)
        yield _answered(settings, material, scorer, heads, held_out, repeat, fold)


def _trained(
    settings: Settings, material: Material, features: KnownFeatures, held_out: frozenset[UserKey], seed: int
) -> Scorer:
    by_user = {user: groups for user, groups in material.in_training.items() if user not in held_out}
    if not any(by_user.values()):
        raise HydraError(
            f"{material.task.name}: nobody outside a fold teaches: all answers to a query are equally good. Ask for "
            "more of them (samples of a prompt), or of more users (data.max_users)"
        )
    return train_adapter_here(by_user, settings, features, seed)


def _answered(
    settings: Settings,
    material: Material,
    scorer: Scorer,
    heads: Mapping[UserKey, Head],
    held_out: frozenset[UserKey],
    repeat: int,
    fold: int,
) -> list[HeldOutAnswer]:
    method = settings.method
    adapter = Adapter(scorer, method.vote_weight, material.task if method.decide == "expected" else None)
    contests = [contest for user in sorted(held_out) for contest in material.contests[user]]
    lent = other_users(heads, settings.seed)

    def asks(whose: Mapping[UserKey, Head]) -> list[AdaptRequest]:
        return [
            AdaptRequest(one.example.query, one.competing, one.history_answers, whose.get(one.example.query.user))
            for one in contests
        ]

    own, other = asks(heads), asks({user: heads[lender] for user, lender in lent.items()})
    chosen = zip(contests, own, adapter(own), adapter(asks({})), adapter(other), strict=True)
    return [
        HeldOutAnswer(
            repeat,
            fold,
            contest,
            ask,
            tuple(ordered),
            shared[0].text if shared else "",
            others[0].text if others else "",
        )
        for contest, ask, ordered, shared, others in chosen
    ]
