"""Does another runtime or arithmetic encode texts faster, at equal decisions?

The default encoder on one thread: by torch in float32 and in bfloat16, and by ONNX Runtime. A query comes alone, as
while serving; labels come many at once. Beside the CPU time of a text stands how far the decisions are the same: of
random heads that choose among labels for queries, the share of choices that are those of torch in float32. What ONNX
Runtime needs before it can is told, too: the time that it takes to write an encoder for it, and to open what is kept.

    python benchmarks/runtimes.py

It needs torch, transformers, the packaged encoder and the extra `onnx`, and no Ray.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from measuring import Goal, finish, machine, options
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hydra_ray.models.computing import Computing, missing
from hydra_ray.models.encoder import TextsEncoder

SIDES = {"torch": ("float32", "torch"), "bfloat16": ("bfloat16", "torch"), "onnx": ("float32", "onnx")}
CPU = torch.device("cpu")
_WORDS = ("robot", "king", "cat", "detective", "farmer", "violin", "train", "snow", "finds", "loses", "follows", "of")
_LABELS = ("action", "classic", "comedy", "dystopia", "fantasy", "psychology", "romance", "thriller", "war", "western")
# Words of a query; heads that choose for each.
_LONG, _HEADS = 100, 100
# Each of ten labels by chance would be a tenth of the choices.
_SAME = 0.99


def encoders(sides: Sequence[str], cache: Path) -> dict[str, TextsEncoder]:
    """The encoder by each side."""
    made = {}
    for side in sides:
        encoder = TextsEncoder.load("minilm", 256, Computing(*SIDES[side], cache), lexical=False).eval()
        made[side] = encoder.requires_grad_(False)
    return made


def starts(cache: Path) -> dict[str, float]:
    """Seconds of the first text by ONNX Runtime: where an encoder has to be written for it, and where it is kept."""
    spent = {}
    for name in ("written", "kept"):
        # The one of before goes with its encoder.
        (encoder,) = encoders(["onnx"], cache).values()
        begin = time.perf_counter()
        encoder.encodings(["a text"])
        spent[name] = time.perf_counter() - begin
        del encoder
    return spent


def queries(count: int) -> list[str]:
    """Distinct texts, as long as descriptions of films."""
    drawn = random.Random(0)
    return [f"{number} {' '.join(drawn.choices(_WORDS, k=_LONG))}" for number in range(count)]


def cpu_ms(call: Callable[[], object]) -> float:
    """CPU time of a call, in milliseconds."""
    begin = time.process_time()
    call()
    return 1e3 * (time.process_time() - begin)


def measure(sides: Sequence[str], count: int, cache: Path) -> list[dict[str, Any]]:
    """A row for each side: CPU time of a text, cosine with torch's encodings at worst, share of choices the same."""
    texts = queries(count)
    made = encoders(sides, cache)
    alone: dict[str, list[float]] = {side: [] for side in sides}
    many: dict[str, list[float]] = {side: [] for side in sides}
    # In turn, the first round of each not counted.
    for number, text in enumerate([texts[0], *texts]):
        for side, encoder in made.items():
            spent = cpu_ms(partial(encoder.encodings, [text]))
            labels = cpu_ms(partial(encoder.encodings, _LABELS)) / len(_LABELS)
            if number:
                alone[side].append(spent)
                many[side].append(labels)
    read = {side: encoder.encodings([*texts, *_LABELS]) for side, encoder in made.items()}
    decisions = [(label, text, ()) for text in texts for label in _LABELS]
    chosen = {side: choices(encoder.features(decisions)) for side, encoder in made.items()}
    rows = []
    for side in sides:
        pairs = [(torch.from_numpy(read[side][text]), torch.from_numpy(read["torch"][text])) for text in read[side]]
        cosine = min(float(torch.cosine_similarity(one, other, dim=0)) for one, other in pairs)
        same = float((chosen[side] == chosen["torch"]).float().mean())
        query_ms, label_ms = median(alone[side]), median(many[side])
        rows.append({"side": side, "query_ms": query_ms, "label_ms": label_ms, "cosine": cosine, "same": same})
    return rows


def choices(z: Tensor) -> Tensor:
    """Number of the label that each random head chooses for each query, shape (queries, heads)."""
    heads = torch.randn(z.shape[1], _HEADS, generator=torch.Generator().manual_seed(0))
    return (z @ heads).view(-1, len(_LABELS), _HEADS).argmax(dim=1)


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """What makes ONNX Runtime worth having."""
    row = {row["side"]: row for row in rows}
    if "onnx" not in row:
        return []
    return [
        Goal("a query, torch's time to ONNX Runtime's", row["torch"]["query_ms"] / row["onnx"]["query_ms"], 1.2, True),
        Goal("choices that are torch's", row["onnx"]["same"], _SAME, at_least=True),
    ]


def main() -> None:
    """Measures, prints and writes."""
    parser = options(__doc__, "runtimes")
    parser.add_argument("--queries", type=int, default=48, help="texts that are encoded alone")
    parser.add_argument(
        "--only-torch", action="store_true", help="not by ONNX Runtime, so that nothing has to be installed"
    )
    told = parser.parse_args()
    sides = [side for side, (_, runtime) in SIDES.items() if runtime == "torch" or not told.only_torch]
    if missing() and not told.only_torch:
        raise SystemExit(f"{' and '.join(missing())}: not installed: `pip install '.[onnx]'`, or --only-torch")
    console = Console()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        started = {} if told.only_torch else starts(Path(folder))
        rows = measure(sides, 4 if told.small else told.queries, Path(folder))
    table = Table("runtime", "a query, ms of CPU", "one of ten labels", "cosine, at worst", "choices the same")
    for row in rows:
        table.add_row(
            row["side"],
            f"{row['query_ms']:.1f}",
            f"{row['label_ms']:.2f}",
            f"{row['cosine']:.6f}",
            f"{row['same']:.3f}",
        )
    console.print(table)
    for name, seconds in started.items():
        console.print(f"first text by ONNX Runtime, its encoder {name}: {seconds:.2f} s")
    finish(console, told.json, "runtimes", {"machine": machine(CPU), "rows": rows, "starts_s": started}, goals(rows))


if __name__ == "__main__":
    main()
