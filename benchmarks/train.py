"""How many tokens a second does the base's training read, beside the Hugging Face Trainer on the same encoder?

On CPUs a second is one of CPU time, so that other processes do not count. All sides train the same: the default encoder
with its top layers, the shared head and users' heads, on the same groups with the same loss, optimiser and arithmetic,
in turn in one process. Tokens are those of distinct texts; padding is not counted. The peer tokenises as it collates,
as ours does, and pads to the longest text of a batch; beside it is told what it does with its own batches of like
length, which are no longer drawn at random, and what `torch.compile` makes of ours.

    pip install --no-deps accelerate      # for the peer alone
    python benchmarks/train.py [--layers 2] [--device cpu|cuda] [--sides ours trainer by-length compiled]

It needs torch, transformers, the packaged encoder and accelerate, and no Ray: what Ray Data takes to hand out batches
is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import pyarrow as pa
import torch
from measuring import Goal, Times, clock_of, finish, machine, options
from rich import box
from rich.console import Console
from rich.table import Table
from trainer_peer import Peer, Row, check_installed

from hydra_ray.learn.base.parallel import Replicated
from hydra_ray.learn.base.step import train_step
from hydra_ray.learn.base.trainee import Trainee, optimizer_of
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.precision import resolve
from hydra_ray.settings import BaseSettings

SIDES = ("ours", "trainer", "by-length", "compiled")
# One token each.
_WORDS = (
    *("robot", "king", "cat", "detective", "farmer", "violin", "train", "snow"),
    *("river", "castle", "machine", "letter", "night", "summer", "island"),
)
_LABELS = ("action", "classic", "comedy", "dystopia", "fantasy", "psychology", "romance", "thriller", "war", "western")
_CANDIDATES, _USERS, _LONGEST = 5, 100, 254
# Losses of the first step, before anything is learnt; three digits of bfloat16 are exact.
_SAME_LOSS = 0.02


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: steps of a repetition, and repetitions; of both the first are not counted."""

    steps: int = 4
    rounds: int = 5
    groups: int = 16


def rows_of(kind: str, count: int, seed: int) -> list[Row]:
    """Groups of five candidates for a query.

    Args:
        kind: "equal": all texts have 64 tokens. "mixed": texts of 4 to 256 tokens, half of them below 40, as a
            log-normal law has them. "labels": candidates out of ten labels, queries like those of "mixed", but three
            times as long.
        count: How many.
        seed: Seed that all texts are drawn with.
    """
    drawn = Random(seed)

    def words(factor: float) -> str:
        length = 62 if kind == "equal" else int(min(_LONGEST, max(2, factor * drawn.lognormvariate(3.64, 0.8))))
        return " ".join(drawn.choices(_WORDS, k=length))

    rows = []
    for _ in range(count):
        labels = kind == "labels"
        judged = drawn.sample(_LABELS, _CANDIDATES) if labels else [words(1) for _ in range(_CANDIDATES)]
        row = {"user": drawn.randrange(_USERS), "judged": judged, "by": [words(3 if labels else 1)] * _CANDIDATES}
        row |= {"and_by": [[]] * _CANDIDATES, "scores": [1.0, *[0.0] * (_CANDIDATES - 1)]}
        rows.append(row | {"priors": [0.0] * _CANDIDATES})
    return rows


def fresh(base: BaseSettings) -> Trainee:
    """The same trainee each time."""
    torch.manual_seed(0)
    trainee = Trainee(base, _USERS)
    # It starts at zero, and nothing would be learnt in what stands before it.
    trainee.scorer.heads.shared.out.reset_parameters()
    return trainee


class Ours:
    """The loop of our workers, on one.

    Args:
        base: Settings of the base.
        device: Where.
        compiled: Whether the encoder goes through `torch.compile`.
    """

    def __init__(self, base: BaseSettings, device: torch.device, compiled: bool) -> None:
        trainee = fresh(base).to(device)
        if compiled:
            trainee.scorer.encoder.backbone.compile(dynamic=True)
        self._base, self._device, self._parallel = base, device, Replicated(trainee, trainee)
        self._optimizer = optimizer_of(trainee, base)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: 1.0)
        self.losses: list[float] = []

    def train(self, rows: Sequence[Row], lengths: Sequence[int]) -> float:
        """Seconds of an epoch."""
        table, size = pa.Table.from_pylist(list(rows)), self._base.batch_groups
        self._parallel.model.train()
        clock = clock_of(self._device)
        begin = clock()
        for start in range(0, len(table), size):
            batch = table.slice(start, size).to_pylist()
            # It ends with the loss, which a GPU has when it is done.
            self.losses.append(train_step(self._parallel, batch, self._base, self._optimizer, self._device))
            self._schedule.step()
        return clock() - begin


def tokens_of(encoder: TextsEncoder, rows: Sequence[Row], size: int) -> tuple[int, list[int]]:
    """Tokens of the distinct texts of each batch together, and of each row's."""

    def tokens(some: Sequence[Row]) -> int:
        texts = {text for row in some for text in (*row["judged"], *row["by"])}
        found = encoder.tokenizer(sorted(texts), truncation=True, max_length=encoder.max_tokens)["input_ids"]
        return sum(map(len, found))

    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    return sum(map(tokens, batches)), [tokens([row]) for row in rows]


def measure(kind: str, names: Sequence[str], base: BaseSettings, sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Tokens a second of each side on one kind of texts."""
    makers: dict[str, Callable[[], Any]] = {
        "ours": lambda: Ours(base, device, compiled=False),
        "trainer": lambda: Peer(fresh(base), base, device, by_length=False),
        "by-length": lambda: Peer(fresh(base), base, device, by_length=True),
        "compiled": lambda: Ours(base, device, compiled=True),
    }
    sides = {name: makers[name]() for name in names}
    encoder = fresh(base).scorer.encoder
    seconds: dict[str, list[float]] = {name: [] for name in names}
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(1 + sizes.rounds):
        rows = rows_of(kind, sizes.steps * base.batch_groups, number)
        tokens, lengths = tokens_of(encoder, rows, base.batch_groups)
        # The order changes, so that nobody always comes first.
        for name in names if number % 2 else reversed(names):
            took = sides[name].train(rows, lengths)
            if number:
                seconds[name].append(took / sizes.steps)
                speeds[name].append(tokens / took)
    first = {name: (one.losses if isinstance(one, Ours) else one.model.losses)[0] for name, one in sides.items()}
    # Batches of like length are other ones.
    same = [loss for name, loss in first.items() if name != "by-length"]
    if max(same) - min(same) > _SAME_LOSS:
        raise SystemExit(f"{kind}: the sides do not compute the same: losses of the first step are {first}")
    found = {
        name: {"tokens_per_s": sorted(speeds[name])[len(speeds[name]) // 2], **Times(tuple(seconds[name])).to_json()}
        for name in names
    }
    return {"texts": kind, "tokens_a_step": tokens / sizes.steps, "first_loss": first, "sides": found}


def main() -> None:
    """Measures, prints and writes."""
    parser = options(__doc__, "train")
    parser.add_argument("--layers", type=int, default=2, help="top layers that are trained; -1 is all")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES[:3])
    parser.add_argument(
        "--texts", nargs="+", choices=("equal", "mixed", "labels"), default=("equal", "mixed", "labels")
    )
    parser.add_argument("--rounds", type=int, default=Sizes.rounds)
    parser.add_argument("--steps", type=int, default=Sizes.steps, help="steps of a repetition")
    told = parser.parse_args()
    if {"trainer", "by-length"} & set(told.sides):
        check_installed()
    console, device = Console(), torch.device(told.device)
    sizes = Sizes(1, 1, 2) if told.small else Sizes(told.steps, told.rounds)
    precision = resolve(told.precision, device.type)
    encoder = {"precision": precision, "trained_layers": None if told.layers < 0 else told.layers}
    base = BaseSettings.model_validate({"encoder": encoder, "batch_groups": sizes.groups, "user_drop": 0.0})
    result: dict[str, Any] = {"machine": machine(device), "small": told.small, "precision": precision}
    result["layers"] = told.layers
    console.print(result["machine"], precision)
    speeds = result["speeds"] = [measure(kind, told.sides, base, sizes, device) for kind in told.texts]
    result["load_after"] = machine(device)["load_before"]
    table = Table("texts", "tokens a step", *(f"{name}, tokens/s" for name in told.sides), box=box.SIMPLE)
    goals = []
    for one in speeds:
        rates = {name: one["sides"][name]["tokens_per_s"] for name in told.sides}
        table.add_row(one["texts"], f"{one['tokens_a_step']:,.0f}", *(f"{rate:,.0f}" for rate in rates.values()))
        if {"ours", "trainer"} <= rates.keys() and one["texts"] != "labels":
            wanted = 1.0 if one["texts"] == "equal" else 1.3
            name = f"{one['texts']} lengths: ours to the Trainer"
            goals.append(Goal(name, rates["ours"] / rates["trainer"], wanted, at_least=True))
    console.print(table)
    finish(console, told.json, "train", result, goals)


if __name__ == "__main__":
    main()
