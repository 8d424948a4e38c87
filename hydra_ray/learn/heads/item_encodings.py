"""Encodings of what is read of users' history items: which texts these are, and how they are made ahead of requests."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hydra_ray.models.base import RERANKER, ROLES, read_about
from hydra_ray.models.encodings import KeptEncodings, text_digest
from hydra_ray.models.scorer import Scorer
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import Settings
from hydra_ray.steps.adapt import all_compete
from hydra_ray.steps.texts import item_text
from hydra_ray.store.protocol import Store
from hydra_ray.store.user_rows.encodings import EncodingStore, ItemEncoding
from hydra_ray.tasks import Task

if TYPE_CHECKING:
    from hydra_ray.models.encoder import TextsEncoder

# Newest items of a user that are encoded while serving: tens of thousands would take an hour of a core, while others
# wait. Older ones are left to `fit`, and to requests that meet them.
MOST_ITEMS = 1_000
# Texts of two roles with one encoder are made once.
_ENCODING_BYTES = 64 << 20


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
    """

    def __init__(self, role: str, task: Task, allowed_answers: int) -> None:
        self._role = role
        self._known = frozenset(task.labels if all_compete(task, allowed_answers) else ())

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


class KeptAhead:
    """Has encodings of users' newest items kept before a request asks for them, by a process that has no requests.

    Args:
        settings: Say in which precision the base is run, and which answers all users share.
        encodings: Encodings beside the histories.
    """

    def __init__(self, settings: Settings, encodings: EncodingStore) -> None:
        self._settings, self._store = settings, encodings
        # To make one takes as long as to load an encoder.
        self._fingerprints: dict[tuple[Path, str], str] = {}

    def __call__(self, base: Path, store: Store, keys: Iterable[UserKey]) -> int:
        """Encode what is missing of some users' items; return how many encodings were kept.

        Args:
            base: Folder of a version of the base.
            store: Store of the histories.
            keys: The users.
        """
        _, task = read_about(base)
        histories = {key: store.history(key)[-MOST_ITEMS:] for key in keys}
        kept, shared, count = self._store.kept(list(histories)), KeptEncodings(_ENCODING_BYTES), 0
        for role in ROLES:
            read = ReadTexts(role, task, self._settings.method.allowed_answers)
            texts = {key: read(items) for key, items in histories.items()}
            count += self._keep(base, role, texts, kept, shared)
        return count

    def _keep(
        self,
        base: Path,
        role: str,
        texts: Mapping[UserKey, Sequence[ItemText]],
        kept: Mapping[UserKey, Collection[bytes]],
        shared: KeptEncodings,
    ) -> int:
        known = self._fingerprints.get((base, role))
        if not any(_misses(known, texts[key], kept.get(key, ())) for key in texts):
            return 0
        encoder = Scorer.load(base / role, self._settings.base.encoder.precision).encoder
        encoder.remember(shared)
        self._fingerprints[base, role] = encoder.fingerprint
        encoded = {key: encode_texts(encoder, texts[key], kept.get(key, ())) for key in texts}
        return self._store.put(encoder.fingerprint, {key: made for key, made in encoded.items() if made})


def _misses(encoder: str | None, texts: Sequence[ItemText], kept: Collection[bytes]) -> bool:
    """Whether an encoding of some text is missing, as far as that is known before the encoder is loaded."""
    return any(encoder is None or text_digest(encoder, one.text) not in kept for one in texts)
