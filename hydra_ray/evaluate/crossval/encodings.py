"""Encodings on disk: numbers under digests of text and encoder, so that another cross-validation encodes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.atomic import replacing
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.encodings import KeptEncodings, text_digest
from hydra_ray.records import HydraError

# Texts of one file: what a killed run loses at most.
_PART = 1024
# More than are kept in memory at once.
_BYTES = 8 << 30
_SCHEMA = pa.schema([("digest", pa.binary()), ("encoding", pa.binary())])


class EncodingFolder:
    """A folder of encodings of any number of encoders, in float16: their entries are about 1.

    No text is in it, and nothing says whose an encoding is: what is here is of no use to who has not the text.

    Args:
        folder: Folder, made when it is written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def prepare(self, encoder: TextsEncoder, texts: Iterable[str], advance: Callable[[int, int], None]) -> int:
        """Have an encoder remember the encodings of texts, and keep those that were not here.

        Args:
            encoder: Frozen encoder; it remembers these texts from now on, and others no more.
            texts: Texts, in any order, some of them more than once; an empty one needs no encoding.
            advance: Called with how many texts are encoded, and how many have to be.

        Returns:
            How many texts were encoded now.

        Raises:
            HydraError: A file of the folder is damaged.
        """
        kept = KeptEncodings(_BYTES)
        encoder.remember(kept)
        mark, wanted = encoder.fingerprint, list(dict.fromkeys(text for text in texts if text))
        there = self._read(mark)
        found = {text: there[digest] for text in wanted if (digest := text_digest(mark, text)) in there}
        # In one order over all parts: texts of like length are encoded together.
        fresh = sorted((text for text in wanted if text not in found), key=lambda text: (len(text), text))
        for start in range(0, len(fresh), _PART):
            part = fresh[start : start + _PART]
            encoded = {text: vector.astype(np.float16) for text, vector in encoder.encodings(part).items()}
            self._write(mark, {text_digest(mark, text): vector for text, vector in encoded.items()})
            found |= encoded
            advance(start + len(part), len(fresh))
        # Also those that were encoded now, as they will be read again: a second run computes from the same numbers.
        kept.keep(mark, {text: vector.astype(np.float32) for text, vector in found.items()})
        return len(fresh)

    def _read(self, mark: str) -> dict[bytes, npt.NDArray[np.float16]]:
        there: dict[bytes, npt.NDArray[np.float16]] = {}
        for path in sorted((self._folder / mark).glob("*.parquet")):
            try:
                table = pq.read_table(path, schema=_SCHEMA)
            except pa.ArrowException as error:
                raise HydraError(f"{path}: damaged: {error}; remove it, and its texts are encoded again") from None
            for digest, encoding in zip(table["digest"].to_pylist(), table["encoding"].to_pylist(), strict=True):
                there[digest] = np.frombuffer(encoding, np.float16)
        return there

    def _write(self, mark: str, encoded: dict[bytes, npt.NDArray[np.float16]]) -> None:
        # Named after what is in it: several processes may write, and none takes another's name.
        first = min(encoded).hex()
        columns = {"digest": list(encoded), "encoding": [vector.tobytes() for vector in encoded.values()]}
        with replacing(self._folder / mark / f"{first}.parquet") as partial:
            pq.write_table(pa.table(columns, schema=_SCHEMA), partial)
