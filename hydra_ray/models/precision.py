"""The arithmetic that encoders run in: what the processor at hand is fastest at."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from hydra_ray.records import HydraError

if TYPE_CHECKING:
    # Who only looks up what is forced or set starts seconds sooner without it.
    from torch import Tensor

log = logging.getLogger(__name__)

# Overrides the probe, for operators and tests.
FORCED = "HYDRA_PRECISION"
PRECISIONS = ("float32", "bfloat16")

# A layer as small encoders have it (MiniLM's), on a batch of 4 texts of 32 tokens.
_WIDTH, _HEADS, _TEXTS, _TOKENS = 384, 12, 4, 32
_ROUNDS = 5
# By so much bfloat16 has to be faster: at equal speed the more exact arithmetic is better.
_MARGIN = 1.1
# From here on more rounds would tell the same, and the slow side takes most of the time.
_CLEAR = 2.5


@dataclass(frozen=True, slots=True)
class Probe:
    """Findings about a processor.

    Attributes:
        chosen: Arithmetic that was chosen, float32 or bfloat16.
        why: Reason for the choice, for the log.
        seconds: Least seconds that the probe's layer took, by precision; empty where nothing was timed.
    """

    chosen: str
    why: str
    seconds: dict[str, float]


def resolve(precision: str, device: str = "cpu") -> str:
    """Return the arithmetic that a setting means here: float32 or bfloat16.

    Args:
        precision: float32, bfloat16, or auto, which is what `HYDRA_PRECISION` says or else what the probe finds.
        device: Type of the device that computes: cpu, cuda.

    Raises:
        HydraError: `HYDRA_PRECISION` holds something else.
    """
    if precision != "auto":
        return precision
    forced = os.environ.get(FORCED, "")
    if not forced:
        return probe(device).chosen
    if forced not in PRECISIONS:
        raise HydraError(f"{FORCED}: {forced!r} is neither of {', '.join(PRECISIONS)}; unset it to have it found out")
    return forced


_lock = Lock()
_probes: dict[str, Probe] = {}


def probe(device: str = "cpu") -> Probe:
    """Find out, once a process, which arithmetic suits a device, and say so in the log."""
    # Two threads that measured at once would measure each other.
    with _lock:
        if device not in _probes:
            _probes[device] = find_out(device)
            log.info("encoders run in %s: %s", _probes[device].chosen, _probes[device].why)
        return _probes[device]


def find_out(device: str) -> Probe:
    """Find out again what `probe` keeps, with the threads that there are now."""
    return _of_cuda() if device == "cuda" else _of_cpu() if device == "cpu" else _of_another(device)


def choose(seconds: dict[str, float]) -> str:
    """Return the faster arithmetic; bfloat16, which is less exact, only where it is clearly faster."""
    return "bfloat16" if seconds["bfloat16"] * _MARGIN < seconds["float32"] else "float32"


def _of_cuda() -> Probe:
    import torch

    # Cards before Ampere only emulate it.
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return Probe("bfloat16", f"{torch.cuda.get_device_name()} has it in hardware", {})
    return Probe("float32", f"{torch.cuda.get_device_name()} has no bfloat16 in hardware", {})


def _of_another(device: str) -> Probe:
    return Probe("float32", f"nothing is known of {device}", {})


def _of_cpu() -> Probe:
    import torch

    seconds, cpu = _time_in_turn({name: _layer(getattr(torch, name)) for name in PRECISIONS})
    took = " and ".join(f"{1e3 * cpu[name]:.1f} ms of CPU time in {name}" for name in PRECISIONS)
    capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    return Probe(choose(cpu), f"a layer takes {took} ({capability}, threads: {threads})", seconds)


def _time_in_turn(sides: dict[str, Callable[[], Tensor]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the least seconds of each side, by the clock and of CPU time.

    Only CPU time says which side is faster where the machine is busy: there, a side's turn by the clock may be another
    process's.
    """
    import torch

    seconds: dict[str, float] = {}
    cpu: dict[str, float] = {}
    with torch.inference_mode():
        for number in range(1 + _ROUNDS):
            for name, run in sides.items():
                begin, begin_cpu = time.perf_counter(), time.process_time()
                run()
                spent_cpu, spent = time.process_time() - begin_cpu, time.perf_counter() - begin
                # In the first round kernels are made.
                if number:
                    seconds[name] = min(spent, seconds.get(name, spent))
                    cpu[name] = min(spent_cpu, cpu.get(name, spent_cpu))
            if number > 1 and max(cpu.values()) > _CLEAR * min(cpu.values()):
                break
    return seconds, cpu


def _layer(dtype: Any) -> Callable[[], Tensor]:
    """Make one encoder layer: attention, then the wide product there and back."""
    import torch
    from torch.nn import functional as F

    # Constants: drawing numbers would change what training draws.
    x = torch.full((_TEXTS, _TOKENS, _WIDTH), 0.5, dtype=dtype)
    square = torch.full((_WIDTH, _WIDTH), 1 / _WIDTH, dtype=dtype)
    up, down = square.repeat(4, 1), square.repeat(1, 4)

    def heads() -> Tensor:
        return F.linear(x, square).view(_TEXTS, _TOKENS, _HEADS, -1).transpose(1, 2)

    def run() -> Tensor:
        query, key, value = heads(), heads(), heads()
        share = (query @ key.transpose(2, 3)).softmax(dim=-1)
        attended = F.linear((share @ value).transpose(1, 2).reshape(x.shape), square)
        return F.linear(F.gelu(F.linear(attended, up)), down)

    return run
