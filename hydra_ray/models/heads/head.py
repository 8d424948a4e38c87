"""One user's head at rest: what the store keeps and replicas hold."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

from safetensors.torch import load, save
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A user's parameters.

    Attributes:
        kind: A key of `HEAD_KINDS`.
        tensors: By name; their shapes are the kind's for one user.
        about: Numbers that go with them: `prior_weight`, and what an update has to know.
    """

    kind: str
    tensors: dict[str, Tensor]
    about: dict[str, float] = field(default_factory=dict)

    @property
    def prior_weight(self) -> float | None:
        """Weight of what is known before the head judges (votes, the retriever's rank); None: as settings say."""
        return self.about.get("prior_weight")

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def to_bytes(self) -> bytes:
        """As safetensors, what is not a tensor among the metadata."""
        return save(self.tensors, metadata={"kind": self.kind, "about": json.dumps(self.about)})

    @classmethod
    def from_bytes(cls, blob: bytes) -> Head:
        """Reads what `to_bytes` wrote."""
        (length,) = struct.unpack("<Q", blob[:8])
        metadata = json.loads(blob[8 : 8 + length])["__metadata__"]
        return cls(metadata["kind"], load(blob), json.loads(metadata["about"]))
