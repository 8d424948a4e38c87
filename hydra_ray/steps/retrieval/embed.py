"""Texts as vectors: what dense retrieval and the search for peers compare."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hydra_ray.models.computing import Computing

if TYPE_CHECKING:
    # Who never embeds anything needs no torch.
    from hydra_ray.models.encoder import TextsEncoder

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]

# 100,000 encodings of width 384 are 150 MB.
_REMEMBERED = 100_000
_BATCH = 32


class Embedder:
    """Unit-length mean-pooled encodings of texts; those used last are kept, so a user's items are encoded once.

    Any thread may call it. One thread of its own loads the encoder and encodes, batch by batch in the
    order of asking: whoever embeds one query does not wait for another's thousands of items. In bfloat16 what else is
    in a batch may change the third digit of a cosine.

    Args:
        load: Makes the encoder when the first text is embedded.
        remembered: Most texts whose encodings are kept, 1.5 KB each.
    """

    def __init__(self, load: Callable[[], TextsEncoder], remembered: int = _REMEMBERED) -> None:
        self._load = cache(load)
        self._remembered = remembered
        self._memory: OrderedDict[str, Vectors] = OrderedDict()
        self._memory_lock = Lock()
        # One thread, since tokenisers are not safe in several.
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="embed")

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return the vector of each text, shape (texts, width), float32; their inner products are cosines."""
        if not texts:
            # As wide as any, so that callers need not ask.
            return self([""])[:0]
        found = self._recall(texts)
        # Texts of like length share a batch, which saves padding.
        fresh = sorted({text for text in texts if text not in found}, key=lambda text: (len(text), text))
        for start in range(0, len(fresh), _BATCH):
            found |= self._encoding.submit(self._encode, fresh[start : start + _BATCH]).result()
        return np.stack([found[text] for text in texts])

    def _recall(self, texts: Iterable[str]) -> dict[str, Vectors]:
        with self._memory_lock:
            found = {text: self._memory[text] for text in texts if text in self._memory}
            for text in found:
                self._memory.move_to_end(text)
        return found

    def _encode(self, texts: Sequence[str]) -> dict[str, Vectors]:
        # Others may have asked for the same texts meanwhile.
        found = self._recall(texts)
        fresh = [text for text in texts if text not in found]
        if fresh:
            # Copies, since a row would keep its whole batch in memory.
            encoded = {text: row.copy() for text, row in zip(fresh, self._load().embed(fresh).numpy(), strict=True)}
            with self._memory_lock:
                self._memory |= encoded
                while len(self._memory) > self._remembered:
                    self._memory.popitem(last=False)
            found |= encoded
        return found


@dataclass(frozen=True, slots=True)
class SharedEmbedder:
    """Embeds with the one `Embedder` that a process has for these settings; may be sent to other processes.

    Attributes:
        name: Name or path of the encoder, as `TextsEncoder.load` takes it.
        max_tokens: Longer texts are cut at their end.
        computing: How the encoder computes.
    """

    name: str
    max_tokens: int
    computing: Computing

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """Return the vector of each text, shape (texts, width), float32; their inner products are cosines."""
        return _embedder(self)(texts)

    def load(self) -> TextsEncoder:
        """The encoder, on the GPU where there is one."""
        import torch

        from hydra_ray.models.encoder import TextsEncoder

        encoder = TextsEncoder.load(self.name, self.max_tokens, self.computing, lexical=False).eval()
        encoder.requires_grad_(False)
        return encoder.to("cuda") if torch.cuda.is_available() else encoder


@cache
def _embedder(shared: SharedEmbedder) -> Embedder:
    return Embedder(shared.load)
