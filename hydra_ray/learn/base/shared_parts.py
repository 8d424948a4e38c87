"""Fits what heads of one kind share, with the base: bases and facets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.models.heads.common import fit_facets
from hydra_ray.models.heads.facets import FacetHeads
from hydra_ray.models.heads.spread import fit_bases
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import UserKey
from hydra_ray.steps.seeds import stable_seed

# Bases and facets are few parameters: more users tell them little more, and their features fill memory.
_MOST_USERS, _MOST_GROUPS = 512, 32
_HELD_SHARE = 0.2


def fit_commons(
    scorer: Scorer,
    groups: Mapping[UserKey, Sequence[RankingGroup]],
    loss: str,
    seed: int,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Fits the scorer's common parts on training users: bases by how these users differ, facets by descent.

    With fewer than five users who have two groups there is nobody to judge by, and the parts stay as they are:
    bases at random, facets silent.

    Args:
        scorer: Trained but for these parts; changed in place.
        groups: Groups by training user, oldest first.
        loss: Name of the loss that the base was trained with.
        seed: Seed that the users are drawn with.
        advance: Called with how many texts are encoded and how many there are, as by `TextsEncoder.features`.
    """
    users = sorted((user for user in groups if len(groups[user]) > 1), key=lambda user: stable_seed(seed, *user))
    users = users[:_MOST_USERS]
    scorer.requires_grad_(False)
    facets = scorer.heads.commons["facets"]
    assert isinstance(facets, FacetHeads)
    facets.out.zero_()
    held = int(_HELD_SHARE * len(users))
    if not held:
        return
    features = encode_all(scorer, [groups[user][-_MOST_GROUPS:] for user in users], advance)
    fitted = {
        "bases": fit_bases(features, scorer.heads, loss),
        "facets": fit_facets(features[held:], features[:held], scorer.heads.offset, loss),
    }
    for name, part in fitted.items():
        scorer.heads.commons[name].load_state_dict(part.state_dict())
