"""How many texts a second does the default encoder read, by arithmetic and threads, and does the probe choose well?

Both sides, float32 and bfloat16, run in turn in one process on the same texts; what `precision: auto` picks is the
probe's answer for the same number of threads.

    python benchmarks/encoder.py [--threads 1 2] [--device cpu|cuda]

To see what an older processor would do, tell oneDNN, PyTorch and MKL to leave newer instructions alone:

    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 python benchmarks/encoder.py

It needs torch, transformers and the packaged encoder, and no Ray.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import Goal, Times, alternating, finish, machine, options
from rich.console import Console
from rich.table import Table

from hydra_ray.models import precision as arithmetic
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.precision import PRECISIONS
from hydra_ray.settings import EmbedderSettings

_WORDS = (
    "robot",
    "king",
    "cat",
    "detective",
    "farmer",
    "violin",
    "train",
    "snow",
    "finds",
    "loses",
    "follows",
    "the",
    "of",
)
# Fewest and most words of a text: a tag, a film's description, a review; and how many are encoded at once.
_LENGTHS = {"short": (1, 3, 64), "films": (20, 40, 32), "long": (120, 160, 16)}
_LEFT_OUT = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured: most distinct texts of a repetition, and repetitions."""

    texts: int = 64
    rounds: int = 3


def texts_of(kind: str, count: int, drawn: random.Random) -> list[str]:
    """Distinct texts."""
    least, most, _ = _LENGTHS[kind]
    return [f"{number} {' '.join(drawn.choices(_WORDS, k=drawn.randint(least, most)))}" for number in range(count)]


def measure(threads: int, sizes: Sizes, device: torch.device) -> list[dict[str, Any]]:
    """Texts a second of both arithmetics, a row for each length of texts."""
    torch.set_num_threads(threads)
    chosen = arithmetic.find_out(device.type).chosen
    encoders = {}
    for name in PRECISIONS:
        computing = EmbedderSettings(precision=name, runtime="torch").computing
        encoders[name] = TextsEncoder.load("minilm", 256, computing, lexical=True).eval().to(device)
    rows = []
    for kind, (*_, count) in _LENGTHS.items():
        count = min(count, sizes.texts)

        def prepare(name: str, kind: str = kind, count: int = count) -> Callable[[], object]:
            decisions = [(text, "", "") for text in texts_of(kind, count, random.Random(0))]
            return partial(encoders[name].features, decisions)

        times = alternating({name: partial(prepare, name) for name in PRECISIONS}, sizes.rounds, device, warm_up=1)
        rows.append({"texts": kind, "threads": threads, "chosen": chosen, **_speeds(times, count)})
    return rows


def _speeds(times: dict[str, Times], texts: int) -> dict[str, Any]:
    speed = {name: texts / one.median for name, one in times.items()}
    return {"texts_per_s": speed, "ratio": speed["bfloat16"] / speed["float32"]}


def _flags() -> list[str]:
    """What the processor says it has of the instructions that matter."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    return [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]


def main() -> None:
    """Measures, prints and writes."""
    parser = options(__doc__, "encoder")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    told = parser.parse_args()
    console, device = Console(), torch.device(told.device)
    sizes = Sizes(4, 1) if told.small else Sizes()
    about = machine(device)
    limits = {name: os.environ[name] for name in _LEFT_OUT if name in os.environ}
    console.print(f"{about['cpu']}, {' '.join(_flags())}{f', limited by {limits}' if limits else ''}")
    rows = [row for threads in told.threads for row in measure(threads, sizes, device)]
    table = Table("texts", "threads", "float32, texts/s", "bfloat16, texts/s", "bfloat16 to float32", "auto picks")
    for row in rows:
        speeds = [f"{row['texts_per_s'][name]:.1f}" for name in PRECISIONS]
        table.add_row(row["texts"], str(row["threads"]), *speeds, f"{row['ratio']:.2f}", row["chosen"])
    console.print(table)
    worst = min(row["texts_per_s"][row["chosen"]] / max(row["texts_per_s"].values()) for row in rows)
    goals = [Goal("speed of what auto picks to the faster, at worst", worst, 0.8, at_least=True)]
    result = {"machine": {**about, "flags": _flags(), "limits": limits}, "speeds": rows}
    finish(console, told.json, "encoder", result, goals)


if __name__ == "__main__":
    main()
