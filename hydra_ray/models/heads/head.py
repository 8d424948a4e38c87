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
        kind: Kind of the head, a key of `HEAD_KINDS`.
        tensors: Parameters by name, in the kind's shapes for one user.
        about: Numbers kept with the parameters: `prior_weight`, and what an update has to know.
    """

    kind: str
    tensors: dict[str, Tensor]
    about: dict[str, float] = field(default_factory=dict)

    @property
    def prior_weight(self) -> float | None:
        """Weight of what is known before the head scores (votes, the retriever's rank); None leaves it to settings."""
        return self.about.get("prior_weight")

    @property
    def nbytes(self) -> int:
        """Size in memory, in bytes."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def to_bytes(self) -> bytes:
        """Return the head as safetensors; what is not a tensor is among the metadata."""
        return save(self.tensors, metadata={"kind": self.kind, "about": json.dumps(self.about)})

    @classmethod
    def from_bytes(cls, blob: bytes) -> Head:
        """Read what `to_bytes` wrote."""
        (length,) = struct.unpack("<Q", blob[:8])
        metadata = json.loads(blob[8 : 8 + length])["__metadata__"]
        return cls(metadata["kind"], load(blob), json.loads(metadata["about"]))
