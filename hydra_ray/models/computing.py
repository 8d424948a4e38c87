"""How an encoder computes: in which arithmetic, and whether by torch or by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from hydra_ray.models.precision import resolve
from hydra_ray.records import HydraError

# The first one runs an encoder, the second one writes it for that.
_NEEDED = ("onnxruntime", "onnx")


@dataclass(frozen=True, slots=True)
class Computing:
    """How an encoder computes, as settings say it.

    Attributes:
        precision: float32, bfloat16, or auto for what suits the processor at hand.
        runtime: torch; onnx for ONNX Runtime, which computes in float32 on CPUs; auto for ONNX Runtime wherever that is
            what is to be computed, and it is installed.
        cache: Folder of each machine for encoders as ONNX Runtime reads them.
    """

    precision: str
    runtime: str
    cache: Path

    def arithmetic(self, device: str) -> str:
        """Return the arithmetic on a device: float32 or bfloat16.

        Args:
            device: Type of the device that computes: cpu, cuda.
        """
        if (self.precision, self.runtime, device) == ("auto", "onnx", "cpu"):
            return "float32"
        return resolve(self.precision, device)

    def by_onnx(self, device: str) -> bool:
        """Whether ONNX Runtime encodes where an encoder is not trained.

        Args:
            device: Type of the device that computes: cpu, cuda.

        Raises:
            HydraError: It has to, and cannot.
        """
        if self.runtime == "torch":
            return False
        why_not = self._why_not_by_onnx(device)
        if why_not and self.runtime == "onnx":
            raise HydraError(f"runtime: onnx: {why_not}; or set runtime: auto")
        return not why_not

    def _why_not_by_onnx(self, device: str) -> str:
        if missing():
            return f"{' and '.join(missing())} not installed: `pip install 'hydra-ray[onnx]'`"
        if device != "cpu":
            return f"it encodes on CPUs, and this process on {device}: leave GPUs out"
        arithmetic = self.arithmetic(device)
        return "" if arithmetic == "float32" else f"it computes in float32, not in {arithmetic}: set precision: float32"


@cache
def missing() -> tuple[str, ...]:
    """Return the packages that ONNX Runtime's part needs, and that are not installed."""
    return tuple(name for name in _NEEDED if find_spec(name) is None)
