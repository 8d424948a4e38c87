"""Encodings of what is read of users' history items: which texts these are, and how they are made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hydra_ray.models.base import RERANKER
from hydra_ray.models.encodings import text_digest
from hydra_ray.records import HistoryItem
from hydra_ray.steps.adapt import all_compete
from hydra_ray.steps.texts import item_text
from hydra_ray.store.user_rows.encodings import ItemEncoding
from hydra_ray.tasks import Task

if TYPE_CHECKING:
    from hydra_ray.models.encoder import TextsEncoder


class ItemText(NamedTuple):
    """A text that is read of an item, whatever the query."""

    item: HistoryItem
    text: str


class ReadTexts:
    """The texts that reranker or adapter read of items.

    Args:
        role: Reranker or adapter.
        task: Task of the base.
        allowed_answers: Size of the largest answer set all of which competes (`method.allowed_answers`): its answers
            are encoded once for everybody.

    Attributes:
        reads_own: Whether users' items say more than what is encoded for everybody.
    """

    def __init__(self, role: str, task: Task, allowed_answers: int) -> None:
        self._role = role
        self._known = frozenset(task.labels if all_compete(task, allowed_answers) else ())
        self.reads_own = role == RERANKER or not self._known

    def __call__(self, items: Iterable[HistoryItem]) -> list[ItemText]:
        """Return the distinct texts that are read of items."""
        if self._role == RERANKER:
            texts = {item_text(item): item for item in items}
        else:
            texts = {item.output: item for item in items if item.output and item.output not in self._known}
        return [ItemText(item, text) for text, item in texts.items()]


def encode_texts(encoder: TextsEncoder, texts: Sequence[ItemText], kept: Collection[bytes]) -> list[ItemEncoding]:
    """Return the encodings of texts that are not kept yet.

    Args:
        encoder: An encoder that remembers, as `TextsEncoder.remember` has it.
        texts: The texts.
        kept: Digests of those that are kept.
    """
    digests = {one.text: text_digest(encoder.fingerprint, one.text) for one in texts}
    fresh = [one for one in texts if digests[one.text] not in kept]
    vectors = encoder.encodings([one.text for one in fresh]) if fresh else {}
    return [ItemEncoding(one.item, digests[one.text], vectors[one.text].tobytes()) for one in fresh]
