import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from defaults import computing, texts_encoder

from hydra_ray.steps.retrieval.embed import Embedder, SharedEmbedder


class Counting:
    """An encoder that remembers the batches it was given."""

    def __init__(self, folder):
        self._encoder = texts_encoder(folder, 64).eval()
        self.batches = []

    def embed(self, texts):
        self.batches.append(list(texts))
        return self._encoder.embed(texts)

    @property
    def encoded(self):
        return [text for batch in self.batches for text in batch]


@pytest.fixture
def encoder(tiny_encoder):
    return Counting(tiny_encoder)


def test_vectors_have_unit_length_and_stand_in_the_order_of_the_texts(encoder):
    texts = ["a rather long text about a robot", "cat", "a king weeps", "cat"]
    vectors = Embedder(lambda: encoder)(texts)
    assert (vectors.shape, vectors.dtype) == ((4, 32), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert np.array_equal(vectors[1], vectors[3])
    for row, text in enumerate(texts):
        assert vectors[row] == pytest.approx(Embedder(lambda: encoder)([text])[0], abs=1e-5)


def test_a_vector_is_the_mean_over_the_texts_own_tokens(encoder):
    tokens = encoder._encoder.tokenizer("a king weeps", return_tensors="pt")
    with torch.no_grad():
        mean = encoder._encoder.backbone(**tokens).last_hidden_state[0].mean(dim=0)
    # The longer text makes padding of the shorter one.
    vectors = Embedder(lambda: encoder)(["a king weeps", "word " * 40])
    assert vectors[0] == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)


def test_a_text_is_encoded_once(encoder):
    embed = Embedder(lambda: encoder)
    embed(["cat", "dog", "cat"])
    embed(["dog", "cow"])
    assert sorted(encoder.encoded) == ["cat", "cow", "dog"]


def test_the_texts_used_longest_ago_are_forgotten(encoder):
    embed = Embedder(lambda: encoder, remembered=2)
    for texts in (["a"], ["b"], ["a"], ["c"], ["a"], ["b"]):
        embed(texts)
    assert encoder.encoded == ["a", "b", "c", "b"]


def test_more_texts_than_are_remembered_are_all_embedded(encoder):
    texts = [f"text {number}" for number in range(100)]
    few, many = Embedder(lambda: encoder, remembered=3), Embedder(lambda: encoder)
    assert few(texts) == pytest.approx(many(texts), abs=1e-6)


def test_texts_of_like_length_share_a_batch(encoder):
    texts = [f"{number:02}" for number in range(32)] + [f"{number:050}" for number in range(32)]
    Embedder(lambda: encoder)(texts[::2] + texts[1::2])
    assert [{len(text) for text in batch} for batch in encoder.batches] == [{2}, {50}]


def test_no_texts_are_an_empty_matrix(encoder):
    assert Embedder(lambda: encoder)([]).shape == (0, 32)


def test_threads_share_one_encoder_and_encode_a_text_once(tiny_encoder):
    made, wrong = [], []

    def load():
        made.append(Counting(tiny_encoder))
        return made[-1]

    embed = Embedder(load)
    texts = [f"text {number}" for number in range(200)]
    right = Embedder(lambda: Counting(tiny_encoder))(texts)

    def ask():
        if not np.allclose(embed(texts), right, atol=1e-5):
            wrong.append("differs")

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(made) == 1
    assert sorted(made[0].encoded) == sorted(texts)


def test_one_text_does_not_wait_for_anothers_thousands(encoder):
    first_batch, released = threading.Event(), threading.Event()
    plain = encoder.embed

    def held(texts):
        first_batch.set()
        assert released.wait(60)
        return plain(texts)

    encoder.embed = held
    embed = Embedder(lambda: encoder)
    many = threading.Thread(target=embed, args=([f"text {number}" for number in range(320)],))
    many.start()
    assert first_batch.wait(60)
    one = threading.Thread(target=embed, args=(["a query"],))
    one.start()
    # The query is queued behind the one batch that is being encoded.
    while embed._encoding._work_queue.qsize() < 1:
        pass
    released.set()
    one.join()
    many.join()
    assert encoder.batches.index(["a query"]) <= 2
    assert len(encoder.batches) == 11


def test_nothing_is_loaded_before_a_text_is_embedded():
    code = (
        "import sys, hydra_ray.steps.profiles.peers, hydra_ray.steps.retrieval.retrievers; "
        "import hydra_ray.steps.retrieval.embed as embed; "
        "from hydra_ray.settings import EmbedderSettings; "
        "embed.SharedEmbedder('minilm', 256, EmbedderSettings().computing); "
        "sys.exit(bool({'torch', 'transformers', 'faiss'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_process_has_one_embedder_for_the_same_settings_wherever_they_came_from(tiny_encoder, monkeypatch):
    loaded, load = [], SharedEmbedder.load
    monkeypatch.setattr(SharedEmbedder, "load", lambda shared: loaded.append(shared) or load(shared))
    embed = SharedEmbedder(str(tiny_encoder), 64, computing(precision="float32"))
    sent = pickle.loads(pickle.dumps(embed))
    assert np.array_equal(embed(["cat"]), sent(["cat"]))
    SharedEmbedder(str(tiny_encoder), 32, computing(precision="float32"))(["cat"])
    assert [shared.max_tokens for shared in loaded] == [64, 32]


@pytest.mark.parametrize("forced", ["float32", "bfloat16"])
def test_what_the_probe_finds_is_what_embeds(tiny_encoder, monkeypatch, forced):
    monkeypatch.setenv("HYDRA_PRECISION", forced)
    encoder = SharedEmbedder(str(tiny_encoder), 64, computing()).load()
    assert (encoder.max_tokens, encoder.arithmetic) == (64, forced)
    texts = ["a robot falls in love", "the farmer sold his cows"]
    exact = SharedEmbedder(str(tiny_encoder), 64, computing(precision="float32")).load().embed(texts)
    assert encoder.embed(texts).numpy() == pytest.approx(exact.numpy(), abs=0.02)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_packaged_encoder_knows_what_means_the_like(precision):
    asked, near, far = SharedEmbedder("minilm", 256, computing(precision=precision))(
        ["a robot falls in love", "romance between machines", "the farmer sold his cows"]
    )
    assert asked.shape == (384,)
    assert asked @ near > asked @ far + 0.2
