"""Encodings of texts that are kept in memory: numbers under digests, so that no text is encoded twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from hydra_ray.bounded import BoundedCache, not_counted

Vector = npt.NDArray[np.float32]
# Bytes of a digest: by chance no two texts share one.
_DIGEST = 16
# Measured: what Python holds around the numbers of one encoding.
_OVERHEAD = 450


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of one text, as one process hands it to another.

    Attributes:
        encoder: Fingerprint of the encoder that made it; to another one it means nothing.
        vector: Numbers, shape (hidden size,).
    """

    encoder: str
    vector: Vector

    @property
    def nbytes(self) -> int:
        """Memory of it, about."""
        return self.vector.nbytes + _OVERHEAD

    def alone(self) -> Encoding:
        """Return it with numbers of its own: those that came from another process keep the whole message in memory."""
        return Encoding(self.encoder, self.vector.copy())


class KeptEncodings:
    """The encodings that were used last, of one encoder or several. Any thread may use it.

    An encoding is found by its text alone, and no text is kept: what is here is of no use to who does not have the
    text. So encodings never grow old, and those of deleted texts are asked for by nobody until others need the room.

    Args:
        max_bytes: Most memory of all encodings; one of width 384 takes 2 KB.
        noted: Called by encoders with the numbers of texts whose encodings were here, and that had to be encoded.
    """

    def __init__(self, max_bytes: int, noted: Callable[[int, int], None] = not_counted) -> None:
        self.noted = noted
        self._kept: BoundedCache[bytes, Vector] = BoundedCache(max_bytes)

    @property
    def nbytes(self) -> int:
        """Memory of what is kept now, about."""
        return self._kept.nbytes

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, encoder: str, texts: Iterable[str]) -> dict[str, Vector]:
        """Return those encodings that are there.

        Args:
            encoder: Fingerprint of the encoder (`encoder_fingerprint`).
            texts: Texts whose encodings are wanted.
        """
        found = ((text, self._kept.get(text_digest(encoder, text))) for text in texts)
        return {text: vector for text, vector in found if vector is not None}

    def keep(self, encoder: str, encoded: Mapping[str, Vector]) -> None:
        """Keeps encodings.

        Args:
            encoder: Fingerprint of the encoder that made them.
            encoded: Encodings by text; an array that shares its memory with others is copied.
        """
        for text, vector in encoded.items():
            # A row would keep its whole batch in memory.
            own = vector.copy() if vector.base is not None else vector
            self._kept.put(text_digest(encoder, text), own, own.nbytes + _OVERHEAD)


def encoder_fingerprint(backbone: nn.Module, tokenizer: Any, max_tokens: int, arithmetic: str) -> str:
    """Return the fingerprint of all that an encoding depends on beside its text.

    Reranker and adapter have equal ones where the encoder was frozen in training, and so has every version of the base
    that was trained on it.

    Args:
        backbone: A Hugging Face encoder.
        tokenizer: Tokenizer of the backbone.
        max_tokens: Most tokens of a text.
        arithmetic: float32 or bfloat16, as it is computed in.
    """
    digest = blake2b(digest_size=_DIGEST)
    for values in (_config_of(backbone), _rules_of(tokenizer), max_tokens, arithmetic):
        digest.update(json.dumps(values, sort_keys=True, default=str).encode())
    for name, weights in sorted(backbone.state_dict().items()):
        digest.update(json.dumps([name, str(weights.dtype), list(weights.shape)]).encode())
        digest.update(weights.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def text_digest(encoder: str, text: str) -> bytes:
    """Return the digest that the encoding of a text is kept under.

    Args:
        encoder: Fingerprint of the encoder.
        text: Text that is encoded.
    """
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST, key=encoder.encode()).digest()


def stored_vector(stored: bytes, width: int) -> Vector | None:
    """Return the encoding that `Vector.tobytes` wrote; None where the bytes are none of that width, or no numbers.

    Args:
        stored: Bytes, as they were kept.
        width: Numbers of an encoding.
    """
    if len(stored) != width * np.dtype(np.float32).itemsize:
        return None
    vector = np.frombuffer(stored, np.float32)
    return vector if np.isfinite(vector).all() else None


def _config_of(backbone: Any) -> dict[str, Any]:
    """What the backbone computes, without where it was loaded from and by which release."""
    config = dict(backbone.config.to_dict())
    for name in ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype"):
        config.pop(name, None)
    return config


def _rules_of(tokenizer: Any) -> Any:
    """How the tokenizer splits texts, without how the last batch was cut and padded."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return [type(tokenizer).__name__, tokenizer.get_vocab(), tokenizer.init_kwargs]
    rules = json.loads(backend.to_str())
    return {name: value for name, value in rules.items() if name not in ("truncation", "padding")}
