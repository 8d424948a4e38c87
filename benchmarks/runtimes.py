"""Does another runtime encode texts faster than torch does, at equal decisions?

The default encoder in float32, on one thread: by torch, by ONNX Runtime, and by ONNX Runtime with weights and
activations in 8 bits. A query comes alone, as while serving; labels come many at once. Beside the CPU time of a text
stands how far the decisions are the same: of random heads that choose among labels for queries, the share of choices
that are torch's.

    pip install --no-deps onnx onnxruntime      # which hydra-ray does not need; and protobuf, ml_dtypes
    python benchmarks/runtimes.py

It needs torch, transformers and the packaged encoder, and no Ray.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from measuring import Goal, finish, machine, options
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from hydra_ray.models.encoder import TextsEncoder

SIDES = ("torch", "onnx", "onnx int8")
CPU = torch.device("cpu")
_WORDS = ("robot", "king", "cat", "detective", "farmer", "violin", "train", "snow", "finds", "loses", "follows", "of")
_LABELS = ("action", "classic", "comedy", "dystopia", "fantasy", "psychology", "romance", "thriller", "war", "western")
# Words of a query; heads that choose for each.
_LONG, _HEADS = 100, 100
# Each of ten labels by chance would be a tenth of the choices.
_SAME = 0.99


class OnnxBackbone(nn.Module):
    """A backbone whose work ONNX Runtime does.

    Args:
        backbone: The backbone as torch has it.
        file: The same as an ONNX model of token ids and masks.
    """

    def __init__(self, backbone: nn.Module, file: Path) -> None:
        super().__init__()
        import onnxruntime

        # It says where this one is, and how wide.
        self.backbone = backbone
        self.config = backbone.config
        threads = onnxruntime.SessionOptions()
        threads.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), threads, providers=["CPUExecutionProvider"])

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Tensor) -> SimpleNamespace:
        """Return what a transformer of `transformers` returns, as far as encoders read it."""
        given = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        return SimpleNamespace(last_hidden_state=torch.from_numpy(self._session.run(None, given)[0]))


class _Hidden(nn.Module):
    """A backbone as a function of two tensors."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the last layer's states, shape (texts, tokens, width)."""
        return self.backbone(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def encoders(sides: Sequence[str], folder: Path) -> dict[str, TextsEncoder]:
    """The encoder by each runtime."""
    made = {side: TextsEncoder.load("minilm", 256, "float32", lexical=False).eval() for side in sides}
    if len(made) == 1:
        return made
    from onnxruntime.quantization import QuantType, quantize_dynamic

    tokens = made["torch"].tokenizer(["a text of some words"], return_tensors="pt")
    names, open_ends = ("input_ids", "attention_mask"), {0: "texts", 1: "tokens"}
    torch.onnx.export(
        _Hidden(made["torch"].backbone).eval(),
        tuple(tokens[name] for name in names),
        str(folder / "float32.onnx"),
        input_names=list(names),
        output_names=["states"],
        dynamic_axes=dict.fromkeys((*names, "states"), open_ends),
        dynamo=False,
    )
    quantize_dynamic(folder / "float32.onnx", folder / "int8.onnx", weight_type=QuantType.QInt8)
    for side in sides[1:]:
        name = "int8" if side.endswith("int8") else "float32"
        made[side].backbone = OnnxBackbone(made[side].backbone, folder / f"{name}.onnx")
    return made


def queries(count: int) -> list[str]:
    """Distinct texts, as long as descriptions of films."""
    drawn = random.Random(0)
    return [f"{number} {' '.join(drawn.choices(_WORDS, k=_LONG))}" for number in range(count)]


def cpu_ms(call: Callable[[], object]) -> float:
    """CPU time of a call, in milliseconds."""
    begin = time.process_time()
    call()
    return 1e3 * (time.process_time() - begin)


def measure(sides: Sequence[str], count: int) -> list[dict[str, Any]]:
    """A row for each side: CPU time of a text, cosine with torch's encodings at worst, share of choices the same."""
    torch.set_num_threads(1)
    texts = queries(count)
    with tempfile.TemporaryDirectory() as folder:
        made = encoders(sides, Path(folder))
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
    """What would make another runtime worth having."""
    of_torch, *others = rows
    wanted = []
    for row in others:
        wanted.append(
            Goal(f"{row['side']}: a query, torch's time to its", of_torch["query_ms"] / row["query_ms"], 1.2, True)
        )
        wanted.append(Goal(f"{row['side']}: choices that are torch's", row["same"], _SAME, at_least=True))
    return wanted


def main() -> None:
    """Measures, prints and writes."""
    parser = options(__doc__, "runtimes")
    parser.add_argument("--queries", type=int, default=48, help="texts that are encoded alone")
    parser.add_argument("--only-torch", action="store_true", help="no other side, so that nothing has to be installed")
    told = parser.parse_args()
    sides = SIDES[:1] if told.only_torch else SIDES
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if missing and not told.only_torch:
        raise SystemExit(
            f"{' and '.join(missing)}: not installed, and nothing else needs them: `pip install --no-deps`"
        )
    console = Console()
    rows = measure(sides, 4 if told.small else told.queries)
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
    finish(console, told.json, "runtimes", {"machine": machine(CPU), "rows": rows}, goals(rows))


if __name__ == "__main__":
    main()
