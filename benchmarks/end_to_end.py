"""From texts to heads: ours, and the peer that encodes everything again in every epoch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from statistics import median
from typing import Any

import torch
from torch import nn

from hydra_ray.data.simulated import simulate
from hydra_ray.learn.collect.rows import ExampleKey
from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.groups import RankingGroup
from hydra_ray.learn.heads.fitter import FitChoice, HeadFitter
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.heads import HEAD_KINDS
from hydra_ray.models.heads.bank import HeadBank
from hydra_ray.models.losses import TEMPERATURE, listwise
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import BaseSettings, FitSettings, HeadSettings
from hydra_ray.steps.texts import adapter_texts

GROUPS, CANDIDATES, RANK = 10, 5, 8
# A minibatch of the peer: 13 groups of 5 pairs, the fewest whole groups that 64 pairs are.
_GROUPS_AT_ONCE = 13
# Texts that the peer encodes at once: its fastest of 16, 32, 64 and 96, since labels then share a batch of their own.
_TEXTS_AT_ONCE = 16
_LABELS = (
    *("action", "based on a book", "classic", "comedy", "dark comedy", "dystopia", "fantasy", "psychology", "romance"),
    *("sci-fi", "social commentary", "thought-provoking", "true story", "twist ending", "violence"),
)

_TENANT = "default"

User = tuple[UserKey, list[RankingGroup]]


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the users, by both sides.

    Attributes:
        users: How many.
        encode_s: Ours, texts to features.
        fit_s: Ours, features to heads.
        epoch_s: The peer's, one epoch.
    """

    users: int
    encode_s: float
    fit_s: float
    epoch_s: float


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """Both sides over all users, a part after the other in turn.

    Attributes:
        texts: Distinct ones.
        pairs: Of a text that is judged and what it is judged by.
        parts: What was measured.
    """

    texts: int
    pairs: int
    parts: tuple[Part, ...]

    def total(self, name: str) -> float:
        """Sum over the parts."""
        return sum(getattr(part, name) for part in self.parts)

    def speed_up(self, epochs: int) -> float:
        """How much longer the peer takes for so many epochs: median over the parts; its epochs are extrapolated."""
        return median(epochs * part.epoch_s / (part.encode_s + part.fit_s) for part in self.parts)

    def to_json(self) -> dict[str, Any]:
        """Totals over all users; speed-ups by epochs."""
        ours = {"users": self.total("users"), "encode_s": self.total("encode_s"), "fit_s": self.total("fit_s")}
        extrapolated = {f"speed_up_{epochs}_epochs_extrapolated": self.speed_up(epochs) for epochs in (2, 10)}
        return {"texts": self.texts, "pairs": self.pairs, **ours, "peer_epoch_s": self.total("epoch_s"), **extrapolated}


def made_up_users(count: int, distinct: bool, seed: int = 0) -> list[User]:
    """Users with 10 films each, described in about 30 words, and 5 answers to each, one of which is theirs.

    Args:
        count: How many.
        distinct: Whether answers are texts of their own, as long as the descriptions; otherwise one of 15 labels.
        seed: Seed that all texts are drawn with.
    """
    films, _ = simulate(users=count, history=GROUPS, queries=0, seed=seed, split="films", tenant="default")
    answers, _ = simulate(
        users=count, history=GROUPS * CANDIDATES, queries=0, seed=seed, split="answers", tenant="default"
    )
    random = Random(seed)
    users = []
    for person, other in zip(films.users, answers.users, strict=True):
        groups = []
        for number, film in enumerate(person.history):
            own = _own_answers(other.history, number) if distinct else tuple(random.sample(_LABELS, CANDIDATES))
            history_answers = random.choices(_LABELS, k=GROUPS)
            decisions = tuple(adapter_texts(answer, film.input, history_answers) for answer in own)
            scores = (1.0, *[0.0] * (CANDIDATES - 1))
            groups.append(RankingGroup(ExampleKey.of_item(person.key, film.id), decisions, scores))
        users.append((person.key, groups))
    return users


def _own_answers(items: Sequence[HistoryItem], number: int) -> tuple[str, ...]:
    return tuple(item.input for item in items[number * CANDIDATES : (number + 1) * CANDIDATES])


def default_scorer(device: torch.device) -> Scorer:
    """The default encoder with heads that were not trained: it takes as long as a trained one."""
    base = BaseSettings()
    encoder = TextsEncoder.load(base.encoder.name, base.encoder.max_tokens, base.encoder.computing, base.lexical)
    return Scorer(encoder).to(device).eval().requires_grad_(False)


class Ours:
    """Each text of a shard encoded once, then all steps on the features."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self._settings = FitSettings(head=HeadSettings(kind="lowrank", rank=RANK), steps=60)
        choice = FitChoice(self._settings)
        self._fitter = HeadFitter(scorer.heads, lambda features: choice, "listwise")

    def __call__(self, users: Sequence[User]) -> tuple[float, float]:
        """Seconds of encoding, and of fitting."""
        encoding, fitting = 0.0, 0.0
        for start in range(0, len(users), self._settings.users_per_shard):
            shard = users[start : start + self._settings.users_per_shard]
            begin = time.perf_counter()
            features = encode_all(self._scorer, [groups for _, groups in shard])
            encoded = time.perf_counter()
            heads = list(self._fitter((key, one) for (key, _), one in zip(shard, features, strict=True)))
            # Heads lie on the CPU: a GPU is done, too.
            fitting += time.perf_counter() - encoded
            encoding += encoded - begin
            assert len(heads) == len(shard)
        return encoding, fitting


class Peer:
    """One AdamW over all users' heads; the frozen encoder reads each minibatch's texts anew.

    It is no straw man: groups of like length share a minibatch, all pairs of a group stand in the same one, no text of
    a minibatch is encoded twice, and a head is gathered by its user's row.

    Args:
        scorer: As ours.
        users: All of them; the optimiser holds the heads of all.
    """

    def __init__(self, scorer: Scorer, users: Sequence[User]) -> None:
        self._scorer, self._device = scorer, scorer.heads.device
        self._rows = {key: row for row, (key, _) in enumerate(users)}
        bank = HeadBank(HEAD_KINDS["lowrank"], len(users), scorer.heads.width, RANK)
        self._bank: nn.Module = bank.to(self._device)
        self._optimizer = torch.optim.AdamW(self._bank.parameters(), lr=1e-3, fused=True)

    def epoch(self, users: Sequence[User]) -> float:
        """Seconds of one epoch over some users' groups."""
        begin = time.perf_counter()
        groups = sorted((group for _, own in users for group in own), key=_length)
        batches = [groups[at : at + _GROUPS_AT_ONCE] for at in range(0, len(groups), _GROUPS_AT_ONCE)]
        Random(0).shuffle(batches)
        for batch in batches:
            self._step(batch)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - begin

    def _step(self, groups: Sequence[RankingGroup]) -> None:
        texts = [decision for group in groups for decision in group.decisions]
        z = self._scorer.encoder.features(texts, _TEXTS_AT_ONCE).to(self._device)
        rows = [self._rows[group.user] for group in groups for _ in group.decisions]
        of_group = [number for number, group in enumerate(groups) for _ in group.decisions]
        scores = [score for group in groups for score in group.scores]
        users, group = torch.tensor(rows, device=self._device), torch.tensor(of_group, device=self._device)
        logits = self._scorer.heads.shared(z) + self._bank(z, users)
        loss = listwise(logits, torch.tensor(scores, device=self._device), group, TEMPERATURE).mean()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()


def _length(group: RankingGroup) -> int:
    return sum(len(text) for judged, by, told in group.decisions for text in {judged, by, *told})


def measure(scorer: Scorer, count: int, distinct: bool, parts: int = 8) -> EndToEnd:
    """Both sides in turn, a part of the users at a time, the order changing from part to part."""
    users = made_up_users(count, distinct)
    ours, peer = Ours(scorer), Peer(scorer, users)
    # Kernels in bfloat16 are compiled at a shape's first use.
    warm = users[: max(1, count // 50)]
    ours(warm)
    peer.epoch(warm)
    measured = []
    for number in range(min(parts, count)):
        part = users[number::parts]
        if number % 2:
            epoch = peer.epoch(part)
            encode, fit = ours(part)
        else:
            encode, fit = ours(part)
            epoch = peer.epoch(part)
        measured.append(Part(len(part), encode, fit, epoch))
    decisions = [texts for _, groups in users for group in groups for texts in group.decisions]
    read = {text for judged, by, told in decisions for text in (judged, by, *told) if text}
    return EndToEnd(len(read), len(decisions), tuple(measured))
