"""Scoring a batch under its users' heads: ours, and the one-hot form of HYDRA, out of the same tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Any

import torch
from measuring import BytesRead, Goal, Times, alternating
from rich import box
from rich.table import Table
from torch import Tensor, nn

from hydra_ray.learn.heads.fitter import fit_options
from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads import HEAD_KINDS, Head, HeadModel
from hydra_ray.models.heads.bank import deltas
from hydra_ray.settings import BaseSettings, FitSettings

DECISIONS, RANK, WIDTH = 64, 8, 384
# What goes with a head in the store.
ABOUT = {"prior_weight": 1.0, "pull": 0.05, "temperature": 0.1}
# Rows of a table that differ; the rest repeat them.
_DISTINCT = 50

Drawn = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class ScoringSizes:
    """How much is measured.

    Attributes:
        users: In the tables, ascending; the one-hot form is measured at all but the last.
        dense_users: In tables of dense heads.
        dense_width: Of z for dense heads.
        rounds: Repetitions.
        dense_rounds: Repetitions for dense heads.
        large_batch: Decisions of the batch that fills a GPU.
    """

    users: tuple[int, ...] = (100, 531, 10_000, 1_000_000)
    dense_users: tuple[int, ...] = (100, 531)
    dense_width: int = 768
    rounds: int = 40
    dense_rounds: int = 9
    large_batch: int = 16_384


@dataclass(frozen=True, slots=True)
class Case:
    """What is timed.

    Attributes:
        side: "ours" or "one-hot".
        kind: Of the heads.
        dtype: Of the tables.
        users: In the tables.
        decisions: In the batch.
        present: Users in the batch.
    """

    side: str
    kind: str
    dtype: str
    users: int
    decisions: int = DECISIONS
    present: int = DECISIONS


@dataclass(frozen=True, slots=True)
class Scored:
    """A case's results.

    Attributes:
        bytes_read: Of the tables, by one batch.
        times: Of one batch.
    """

    bytes_read: int
    times: Times

    @property
    def bandwidth(self) -> float:
        """Bytes of heads read a second."""
        return self.bytes_read / self.times.median


class HeadTables:
    """One kind's heads of many users.

    Args:
        kind: A key of `HEAD_KINDS`.
        width: Of z.
        users: Of the largest table; smaller ones are its first rows.
        dtype: In which heads are kept.
        device: Where.
    """

    def __init__(self, kind: str, width: int, users: int, dtype: torch.dtype, device: torch.device) -> None:
        self.kind, self.width, self.dtype, self.device = HEAD_KINDS[kind], width, dtype, device
        self.common: nn.Module | None = HeadModel(width).to(device).common(kind)
        self._random = Random(0)
        head = fitted_head(kind, width)
        self.tensors = {name: _filled(users, one.shape, dtype, device) for name, one in head.tensors.items()}

    def draw(self, case: Case) -> Drawn:
        """Users, others each time, and features, of one batch."""
        # A permutation of a million users would leave the caches cold for everything else, too.
        chosen = torch.tensor(self._random.sample(range(case.users), case.present))
        users = chosen.repeat_interleave(case.decisions // case.present)
        return users.to(self.device), torch.randn(case.decisions, self.width, device=self.device)

    def score(self, case: Case, drawn: Drawn) -> Tensor:
        """Deltas of a batch, shape (decisions,)."""
        heads = {name: table[: case.users] for name, table in self.tensors.items()}
        users, z = drawn
        if case.side == "ours":
            return deltas(self.kind, heads, users, z, self.common)
        return one_hot(heads, users, z)


def one_hot(heads: Mapping[str, Tensor], users: Tensor, z: Tensor) -> Tensor:
    """delta_b = out_b . tanh(W_b z_b + bias_b), each of W, bias, out as the sum over all users u of mask[b, u] W[u].

    The mask is of the tables' dtype, so that selecting is exact and no table is converted. Each sum is one matrix
    product, the fastest form it has.
    """
    stacked = next(iter(heads.values()))
    mask = nn.functional.one_hot(users, len(stacked)).to(stacked.dtype)
    own = {name: (mask @ table.flatten(1)).to(z.dtype) for name, table in heads.items()}
    matrix = own["weight" if "weight" in own else "project"].view(len(z), -1, z.shape[1])
    hidden = (matrix @ z.unsqueeze(-1)).squeeze(-1)
    return (torch.tanh(hidden + own.get("bias", 0.0)) * own["out"]).sum(1)


def score_all(sizes: ScoringSizes, device: torch.device) -> dict[Case, Scored]:
    """All cases of all kinds; a kind's tables are freed before the next kind's are made."""
    found: dict[Case, Scored] = {}
    for kind in ("lowrank", "bases", "facets"):
        heads = HeadTables(kind, WIDTH, sizes.users[-1], HEAD_KINDS[kind].dtype, device)
        cases = list(_cases(heads, sizes.users, sizes.users[:-1] if kind == "lowrank" else ()))
        if device.type == "cuda":
            # A GPU is through with 64 decisions before their kernels are all started: many tell its memory's speed.
            many = sizes.large_batch
            cases.append(Case("ours", kind, _name(heads.dtype), sizes.users[-1], many, many))
        found |= _measure(heads, cases, sizes.rounds)
        del heads
    heads = HeadTables("lowrank", WIDTH, sizes.users[-2], torch.float32, device)
    found |= _measure(heads, list(_cases(heads, sizes.users[:-1], sizes.users[:-1])), sizes.rounds)
    for dtype in (torch.float32, torch.bfloat16):
        heads = HeadTables("dense", sizes.dense_width, sizes.dense_users[-1], dtype, device)
        found |= _measure(heads, list(_cases(heads, sizes.dense_users, sizes.dense_users)), sizes.dense_rounds)
        del heads
    return found


def _cases(heads: HeadTables, users: Sequence[int], hot: Sequence[int]) -> Iterator[Case]:
    kind, dtype = heads.kind.name, _name(heads.dtype)
    for count in users:
        yield Case("ours", kind, dtype, count)
        yield Case("ours", kind, dtype, count, present=8)
        if count in hot:
            yield Case("one-hot", kind, dtype, count)


@torch.inference_mode()
def _measure(heads: HeadTables, cases: Sequence[Case], rounds: int) -> dict[Case, Scored]:
    read: dict[Case, int] = {}
    for case in cases:
        drawn = heads.draw(case)
        with BytesRead(heads.tensors.values()) as counted:
            answer = heads.score(case, drawn)
        read[case] = counted.count
        if case.side == "one-hot":
            # Both compute the same, or there is nothing to compare.
            ours = Case("ours", case.kind, case.dtype, case.users)
            torch.testing.assert_close(answer, heads.score(ours, drawn), rtol=1e-3, atol=1e-3)

    def prepare(case: Case) -> Callable[[], Tensor]:
        return partial(heads.score, case, heads.draw(case))

    times = alternating({case: partial(prepare, case) for case in cases}, rounds, heads.device)
    return {case: Scored(read[case], times[case]) for case in cases}


def _filled(users: int, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A table of random rows; beside it almost no memory is taken."""
    table = torch.empty(users, *shape, dtype=dtype, device=device)
    block = (0.05 * torch.randn(_DISTINCT, *shape)).to(device, dtype)
    for start in range(0, users, _DISTINCT):
        table[start : start + _DISTINCT] = block[: users - start]
    return table


def fitted_head(kind: str, width: int) -> Head:
    """One user's head as a fit makes it, from generated features."""
    return HeadModel(width).fit(
        kind,
        [generated_user(width, 8)],
        replace(fit_options(FitSettings(), BaseSettings().loss), rank=RANK, steps=1),
        ABOUT,
    )[0]


def generated_user(width: int, items: int, per_item: int = 8) -> UserFeatures:
    """Random features of items, one decision of each good."""
    decisions = items * per_item
    scores = (torch.arange(decisions) % per_item == 0).float()
    sizes = torch.full((items,), per_item)
    observation_ids = tuple(map(str, range(items)))
    return UserFeatures(torch.randn(decisions, width), sizes, scores, torch.zeros(decisions), observation_ids)


def ratios(found: Mapping[Case, Scored], sizes: ScoringSizes) -> dict[str, float]:
    """The largest tables against the next smaller ones, and the one-hot form against ours."""
    told: dict[str, float] = {}
    fewer, more = sizes.users[-2:]
    for kind in ("lowrank", "bases", "facets"):
        few, many = (found[Case("ours", kind, _name(HEAD_KINDS[kind].dtype), users)] for users in (fewer, more))
        told[f"{kind}: bytes at {more:,} users to {fewer:,}"] = many.bytes_read / few.bytes_read
        told[f"{kind}: time at {more:,} users to {fewer:,}"] = many.times.median / few.times.median
    for case, hot in found.items():
        if case.side == "one-hot":
            ours = found[Case("ours", case.kind, case.dtype, case.users)]
            told[f"{case.kind} {case.dtype}, {case.users:,} users: speed-up"] = hot.times.median / ours.times.median
    return told


def goals(told: Mapping[str, float], sizes: ScoringSizes, device: torch.device) -> list[Goal]:
    """Goals of scoring; that of dense heads is one of CPUs."""
    fewer, more = (f"{users:,}" for users in sizes.users[-2:])
    bounds = {f"lowrank: bytes at {more} users to {fewer}": 1.1, f"lowrank: time at {more} users to {fewer}": 1.5}
    wanted = [Goal(name, told[name], bound) for name, bound in bounds.items()]
    if device.type == "cpu":
        name = f"dense float32, {sizes.dense_users[-1]:,} users: speed-up"
        wanted.append(Goal(f"{name} over one-hot", told[name], 30, at_least=True))
    return wanted


def to_json(case: Case, scored: Scored, bandwidth: float) -> dict[str, Any]:
    """With the share of the memory's bandwidth that reading the heads reaches."""
    about = {name: getattr(case, name) for name in case.__slots__}
    share = scored.bandwidth / bandwidth
    return {**about, "bytes_read": scored.bytes_read, **scored.times.to_json(), "bandwidth_share": share}


def table(found: Mapping[Case, Scored], bandwidth: float) -> Table:
    """A row a case."""
    title = f"Scoring a batch of decisions (/ users); a copy's bandwidth is {bandwidth / 1e9:.1f} GB/s"
    columns = ("heads", "users", "batch", "side", "ms", "bytes read", "bandwidth")
    shown = Table(*columns, title=title, box=box.SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for case, one in found.items():
        shown.add_row(
            f"{case.kind} {case.dtype.replace('bfloat', 'bf').replace('float', 'fp')}",
            f"{case.users:,}",
            f"{case.decisions:,}" if case.decisions == case.present else f"{case.decisions:,} / {case.present}",
            case.side,
            f"{1e3 * one.times.median:.3f}",
            f"{one.bytes_read:,}",
            f"{one.bandwidth / bandwidth:.1%}",
        )
    return shown


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
