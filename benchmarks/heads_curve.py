"""Do users' own heads find what is private about their users, after how many items, and how near to the best possible?

Users are simulated (`simulated_tastes.py`): features of the encoder's form, a preference that all share, a private one
of known form and size, and choices with noise. A base is trained on some of them by the recipe of `hydra-ray train`;
others get heads from their first 2 to 200 items and are judged on later ones by the share of the user's choices that
would be met (the true probability of what is ranked first, so that only users are a source of chance).

Beside the kinds of head: the shared head; `best`, the posterior around the same shared head under the true prior of
the private preference, which is what a head of that many items can be expected to reach; `truth`, who knows the
utilities.

    python benchmarks/heads_curve.py [--kinds lowrank bases facets dense] [--worlds none tastes ...] [--encoding 384]

Needs no Ray and no LLM.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from measuring import Goal, finish, machine, options
from rich import box
from rich.console import Console
from rich.table import Table
from simulated_tastes import SimulatedUser, TasteWorld, World, train_base
from torch import Tensor

from hydra_ray.learn.heads.fitter import fit_options
from hydra_ray.models.features import UserFeatures, pad
from hydra_ray.models.heads import HEAD_KINDS, HeadModel
from hydra_ray.models.heads.bases import UNIT_PULL, posterior
from hydra_ray.models.heads.common import fit_facets
from hydra_ray.models.heads.descent import GradientFitted
from hydra_ray.models.heads.spread import fit_bases
from hydra_ray.models.losses import TEMPERATURE
from hydra_ray.settings import BaseSettings, FitSettings, HeadSettings

WORLDS = {
    world.name: world
    for world in (
        World("none", 0.0),
        World("tastes", 1.0, rank=4),
        World("any", 1.0),
        World("numbers", 1.0, on="numbers"),
        World("few users", 2.0, rank=4, share=0.25),
    )
}


@dataclass(frozen=True)
class CurveSizes:
    """How much is simulated.

    Attributes:
        encoding: Width of one text's encoding.
        answers: Candidates of a query.
        trained: Users who train the base, and what heads share.
        taught: Items of each of them.
        judged: Other users.
        asked: Later items that each of these is judged on.
        items: Numbers of items that heads are fitted from, ascending.
    """

    encoding: int = 128
    answers: int = 15
    trained: int = 80
    taught: int = 40
    judged: int = 60
    asked: int = 40
    items: tuple[int, ...] = (2, 5, 10, 20, 50, 100, 200)


_SMALL = CurveSizes(8, 5, 12, 8, 6, 10, (2, 8))
# Users in memory at once.
_BATCH = 10

# Share of choices met by each judged user, by head and number of items.
Curve = dict[tuple[str, int], Tensor]


def curve(world: World, kinds: Sequence[str], sizes: CurveSizes, seed: int) -> Curve:
    """Return what heads of each kind meet in one world, beside the shared head and the best possible."""
    drawn = TasteWorld(world, sizes.encoding, sizes.answers, seed)
    training = [drawn.user(1 + number, sizes.taught).features for number in range(sizes.trained)]
    base = BaseSettings()
    model = train_base(training, base, seed)
    held = len(training) // 5
    if "bases" in kinds:
        model.commons["bases"].load_state_dict(fit_bases(training, model, base.loss).state_dict())
    if "facets" in kinds:
        facets = fit_facets(training[held:], training[:held], model.offset, base.loss)
        model.commons["facets"].load_state_dict(facets.state_dict())
    met: dict[tuple[str, int], list[float]] = defaultdict(list)
    for start in range(0, sizes.judged, _BATCH):
        seeds = range(100_000 + start, 100_000 + min(start + _BATCH, sizes.judged))
        users = [drawn.user(one, max(sizes.items) + sizes.asked) for one in seeds]
        for name, shares in _met(model, users, kinds, sizes, base.loss).items():
            met[name] += shares
    return {name: torch.tensor(shares) for name, shares in met.items()}


def _met(
    model: HeadModel, users: Sequence[SimulatedUser], kinds: Sequence[str], sizes: CurveSizes, loss: str
) -> dict[tuple[str, int], list[float]]:
    size, most = sizes.answers, max(sizes.items)
    asked = [one.features.groups(most, most + sizes.asked) for one in users]
    truth = [one.utilities[most * size :].view(-1, size).softmax(1) for one in users]

    def shares(logits: Sequence[Tensor]) -> list[float]:
        """Mean true probability of what has the highest logit."""
        chosen = (one.view(-1, size).argmax(1, keepdim=True) for one in logits)
        return [float(p.gather(1, at).mean()) for p, at in zip(truth, chosen, strict=True)]

    shared = [_offset(model, one) for one in asked]
    met = {("shared", n): shares(shared) for n in sizes.items} | {
        ("truth", n): shares([p.log() for p in truth]) for n in sizes.items
    }
    for n in sizes.items:
        known = [one.features.groups(0, n) for one in users]
        for kind in kinds:
            settings = FitSettings(head=HeadSettings(kind=kind))
            if isinstance(HEAD_KINDS[kind], GradientFitted) and n < settings.min_groups:
                met[kind, n] = met["shared", n]
                continue
            heads = model.fit(kind, known, fit_options(settings, loss))
            own = []
            for one, head in zip(asked, heads, strict=True):
                weight = model.prior if head.prior_weight is None else head.prior_weight
                own.append(model.logits(one.z, [head] * len(one.z)) + weight * one.priors)
            met[kind, n] = shares(own)
        met["best", n] = shares(
            [
                base + _best_delta(model, one, early, loss, most * size)
                for one, early, base in zip(users, known, shared, strict=True)
            ]
        )
    return met


def _offset(model: HeadModel, features: UserFeatures) -> Tensor:
    return model.offset(pad([features])).flatten()


def _best_delta(model: HeadModel, user: SimulatedUser, known: UserFeatures, loss: str, asked_from: int) -> Tensor:
    """Return the deltas of the posterior's mode under the true prior, of the decisions that are asked."""
    count = len(known.z)
    tastes = user.tastes
    if tastes.shape[1] > count:
        # The mode lies in the span of what is known; in its coordinates the prior is the same.
        span = torch.linalg.qr(tastes[:count].T)[0]
        tastes = tastes @ span
    observed = torch.cat([tastes[:count], _offset(model, known).unsqueeze(1), known.scores.unsqueeze(1)], dim=1)
    group = torch.arange(len(known.sizes)).repeat_interleave(known.sizes)
    owner = torch.zeros(len(known.sizes), dtype=torch.long)
    fitted = posterior(observed, group, owner, 1, UNIT_PULL, loss, TEMPERATURE)
    return tastes[asked_from:] @ fitted["mean"][0]


def summary(found: Curve) -> list[dict[str, Any]]:
    """Return means by head and number of items, with the gain over the shared head and its 95 % interval."""
    rows = []
    for (name, n), shares in found.items():
        gain = shares - found["shared", n]
        reach = 1.96 * float(gain.std()) / len(gain) ** 0.5
        rows.append({"head": name, "items": n, "met": float(shares.mean()), "gain": float(gain.mean()), "reach": reach})
    return rows


def _table(world: World, rows: Sequence[Mapping[str, Any]], items: Sequence[int]) -> Table:
    table = Table("head", *map(str, items), title=f"{world.name}: choices met, gain over shared", box=box.SIMPLE)
    for name in dict.fromkeys(row["head"] for row in rows):
        own = [row for row in rows if row["head"] == name]
        cells = (
            f"{row['met']:.3f}" + ("" if name == "shared" else f" {row['gain']:+.3f} ±{row['reach']:.3f}")
            for row in own
        )
        table.add_row(name, *cells)
    return table


def main() -> None:
    """Simulates, prints tables and writes JSON."""
    parser = options(__doc__, "heads_curve")
    parser.add_argument("--kinds", nargs="+", choices=list(HEAD_KINDS), default=[k for k in HEAD_KINDS if k != "dense"])
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=list(WORLDS))
    parser.add_argument("--seeds", type=int, default=1, help="worlds of each sort")
    parser.add_argument("--encoding", type=int, default=CurveSizes.encoding, help="width of one text's encoding")
    parser.add_argument("--trained", type=int, default=CurveSizes.trained, help="users who train the base")
    arguments = parser.parse_args()
    sizes = _SMALL if arguments.small else CurveSizes(encoding=arguments.encoding, trained=arguments.trained)
    console = Console(width=200)
    worlds: dict[str, list[dict[str, Any]]] = {}
    for name in arguments.worlds:
        curves = [curve(WORLDS[name], arguments.kinds, sizes, seed) for seed in range(arguments.seeds)]
        together = {key: torch.cat([one[key] for one in curves]) for key in curves[0]}
        worlds[name] = summary(together)
        console.print(_table(WORLDS[name], worlds[name], sizes.items))
    result = {"machine": machine(torch.device("cpu")), "small": arguments.small, "worlds": worlds}
    finish(console, arguments.json, "heads_curve", result, list[Goal]())


if __name__ == "__main__":
    main()
