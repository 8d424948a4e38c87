"""What benchmarks serve: a base on the real encoder, and users of made-up films with heads of their own."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hydra_ray.learn.heads.item_encodings import ItemText, ReadTexts
from hydra_ray.models.base import ADAPTER, RERANKER, Base, roles_for
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.encodings import KeptEncodings, text_digest
from hydra_ray.models.heads import HEAD_KINDS, Head
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.store.backends import open_store
from hydra_ray.store.protocol import Store
from hydra_ray.store.schema import open_database
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding
from hydra_ray.tasks import TASKS, Task

TENANT, VERSION = "bench", "bench-1"
BIG = UserKey(TENANT, "big")
TAGS = (
    *("sci-fi", "based on a book", "comedy", "action", "twist ending", "dystopia", "dark comedy", "classic"),
    *("psychology", "fantasy", "romance", "thought-provoking", "social commentary", "violence", "true story"),
)
# LaMP_2M's descriptions have about so many words.
_WORDS, _VOCABULARY = 70, 8_000
_USERS_AT_ONCE = 500


class Films:
    """Descriptions of films that nobody made, whose words follow Zipf's law; no two are the same."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        syllables = [a + b for a in "bdfgklmnprstv" for b in "aeiou"]
        self._words = ["".join(self._draw.choices(syllables, k=self._draw.randint(1, 3))) for _ in range(_VOCABULARY)]
        self._weights = list(accumulate(1 / (rank + 10) for rank in range(_VOCABULARY)))

    def text(self) -> str:
        """A new description."""
        return " ".join(self._draw.choices(self._words, cum_weights=self._weights, k=_WORDS))

    def history(self, items: int) -> list[HistoryItem]:
        """A new user's items, oldest first."""
        return [HistoryItem(f"film-{number}", self.text(), self._draw.choice(TAGS)) for number in range(items)]


def film_task() -> Task:
    """LaMP_2M with fifteen tags: all of them compete for every query."""
    return replace(TASKS["LaMP_2M"], instruction="Which tag does this movie relate to?", labels=TAGS)


def make_settings(folder: Path, llm_url: str, **serve: Any) -> Settings:
    """As users have them, with what is needed to be found, and with what of section `serve` is named."""
    generator = {"backend": "openai", "base_url": llm_url, "model": "fixed"}
    places = {"out": str(folder), "model": {"dir": str(folder / "model")}, "tenant": TENANT}
    # Every process in the same arithmetic, whatever its own probe would find.
    base = {"encoder": {"precision": "float32"}}
    return parse_settings({**places, "generator": generator, "base": base, "serve": serve})


def _make_base(folder: Path, settings: Settings, task: Task) -> None:
    """Writes a base on a frozen encoder with heads drawn at random, which cost as much as trained ones.

    Args:
        folder: Folder of the model (`model.dir`).
        settings: Say which encoder.
        task: Task of the base.
    """
    read, scorers = settings.base.encoder, {}
    for number, role in enumerate(roles_for(settings.method.rerank)):
        torch.manual_seed(number)
        encoder = TextsEncoder.load(read.name, read.max_tokens, read.computing, settings.base.lexical)
        scorer = Scorer(encoder).eval()
        scorer.heads.shared.out.reset_parameters()
        scorers[role] = scorer
    (folder / "base").mkdir(parents=True)
    Base(VERSION, task, scorers.get(RERANKER), scorers[ADAPTER]).save(folder / "base")


def prepare(settings: Settings, task: Task, users: int, items: int, *, big: int, heads: int) -> None:
    """Writes a base, histories of all users with encodings, and heads of some.

    There are encodings of the texts of which a fit and writes of history leave some, for both roles. Their numbers are
    drawn: making those of 500,000 texts takes hours on two cores, and reading them is what is measured.

    Args:
        settings: Say where, and which answers all users share.
        task: Task of the base.
        users: How many there are.
        items: Number of history items of each user.
        big: Number of history items of one user more; 0 makes none.
        heads: How many of them have a head of their own in both roles.
    """
    _make_base(settings.model_dir, settings, task)
    # As replicas load it.
    encoder = Scorer.load(settings.model_dir / "base" / ADAPTER, settings.base.encoder.computing).encoder
    store, encodings = open_store(settings.store_target), EncodingStore(open_database(settings.store_target))
    encoder.remember(KeptEncodings(0))
    # A frozen encoder: all roles have the same.
    roles = roles_for(settings.method.rerank)
    read = [ReadTexts(role, task, settings.method.allowed_answers) for role in roles]
    films = Films(1)
    sizes = {user_key(number): items for number in range(users)} | ({BIG: big} if big else {})
    for some in _batches(len(sizes)):
        histories = {key: films.history(sizes[key]) for key in list(sizes)[some.start : some.stop]}
        store.put_histories(histories)
        texts = {key: [one for of_role in read for one in of_role(items)] for key, items in histories.items()}
        encodings.put(encoder.fingerprint, {key: _drawn(own, encoder) for key, own in texts.items()})
    for some in _batches(min(heads, users)):
        _put_heads(store, [user_key(number) for number in some], encoder.width, roles)
    store.close()


def user_key(number: int) -> UserKey:
    """User of a number."""
    return UserKey(TENANT, f"user-{number}")


def _drawn(texts: list[ItemText], encoder: TextsEncoder) -> list[ItemEncoding]:
    draw = np.random.default_rng(0).standard_normal((len(texts), encoder.encoding_width)).astype(np.float32)
    return [
        ItemEncoding(one.item, text_digest(encoder.fingerprint, one.text), row.tobytes())
        for one, row in zip(texts, draw, strict=True)
    ]


def _put_heads(store: Store, keys: list[UserKey], width: int, roles: Sequence[str]) -> None:
    kind, draw = HEAD_KINDS["lowrank"], torch.Generator().manual_seed(2)
    fresh = {name: tensor[0].to(kind.dtype) for name, tensor in kind.fresh(1, width, 6).items()}  # type: ignore[attr-defined]
    heads: dict[UserKey, Head | None] = {
        key: Head("lowrank", {**fresh, "out": torch.randn(6, generator=draw).to(kind.dtype)}) for key in keys
    }
    for role in roles:
        store.put_heads(VERSION, role, heads)


def _batches(count: int) -> Iterator[range]:
    for start in range(0, count, _USERS_AT_ONCE):
        yield range(start, min(count, start + _USERS_AT_ONCE))
