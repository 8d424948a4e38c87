"""Features of all that a recipe decides about, computed once: training, fits and answers look them up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import torch
from torch import Tensor

from hydra_ray.evaluate.crossval.encodings import EncodingFolder
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.layout import Texts

# Decisions whose features are made at a time: float32 of them is in memory beside all others' float16.
_PIECE = 4096


class KnownFeatures(TextsEncoder):
    """A frozen encoder that knows the features of a fixed set of decisions, and reads no other text.

    Features are in float16, as they are where heads are fitted.

    Args:
        encoder: Frozen encoder that remembers the decisions' texts.
        decisions: Decisions, some of them more than once.
    """

    def __init__(self, encoder: TextsEncoder, decisions: Iterable[Texts]) -> None:
        super().__init__(encoder.backbone, encoder.tokenizer, encoder.max_tokens, encoder.computing, encoder.lexical)
        distinct = list(dict.fromkeys(decisions))
        self._row = {texts: row for row, texts in enumerate(distinct)}
        self._z = torch.empty(len(distinct), self.width, dtype=torch.float16)
        for start in range(0, len(distinct), _PIECE):
            self._z[start : start + _PIECE] = encoder.features(distinct[start : start + _PIECE]).half()

    @torch.no_grad()
    def features(
        self,
        decisions: Sequence[Texts],
        batch_size: int = 32,
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> Tensor:
        """Return features as `TextsEncoder.features` does; a decision that is not known is a bug."""
        rows = [self._row[texts] for texts in decisions]
        return self._z[torch.tensor(rows, dtype=torch.long)].float()


def known_features(
    encoder: TextsEncoder,
    folder: EncodingFolder,
    decisions: Sequence[Texts],
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[KnownFeatures, int]:
    """Return the features of decisions, and how many texts were encoded for them.

    Args:
        encoder: Frozen encoder.
        folder: Where encodings are kept.
        decisions: All that will be asked for.
        advance: Called with how many texts are encoded, and how many have to be.
    """
    fresh = folder.prepare(encoder, chain.from_iterable(map(_texts_of, decisions)), advance)
    return KnownFeatures(encoder, decisions), fresh


def _texts_of(decision: Texts) -> Iterator[str]:
    candidate, query, answers = decision
    yield candidate
    yield query
    yield from answers
