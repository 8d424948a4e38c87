import pytest
import torch
from torch.testing import assert_close
from transformers import BertConfig, BertModel

from hydra_ray.models.encoder import PairEncoder

SHORT, LONG = "drama: two cats meet", "robot " * 200
PAIRS = [
    ("drama: two cats", "comedy | drama"),
    (LONG, "sci-fi"),
    ("", "x"),
    ("sci-fi: a robot falls", LONG),
    ("comedy", ""),
    (LONG, LONG),
]


@pytest.fixture(scope="module")
def encoder(tiny_encoder):
    return PairEncoder.load(str(tiny_encoder), 64)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (SHORT, f"comedy at first {LONG}"),
        (f"{SHORT} {LONG}", "comedy at first"),
        (SHORT + LONG, f"comedy at first {LONG}"),
    ],
)
def test_both_texts_keep_their_start_however_long_they_are(encoder, first, second):
    ids = encoder.tokenize([(first, second)])["input_ids"]
    assert ids.shape == (1, 64)
    kept = encoder.tokenizer.decode(ids[0]).split("[SEP]")
    assert kept[0].strip().startswith("[CLS] drama : two cats meet")
    assert kept[1].strip().startswith("comedy at first")


def test_only_the_longer_text_is_cut(encoder):
    text = encoder.tokenizer.decode(encoder.tokenize([(SHORT, LONG)])["input_ids"][0])
    assert text.startswith("[CLS] drama : two cats meet [SEP] robot robot")


@pytest.mark.parametrize(("limit", "most"), [(256, 8), (50, 50)])
def test_tensors_have_few_widths_and_never_pass_the_limit(tiny_encoder, limit, most):
    encoder = PairEncoder.load(str(tiny_encoder), limit)
    widths = {encoder.tokenize([("x " * count, "y " * count)])["input_ids"].shape[1] for count in range(0, 200, 3)}
    assert max(widths) == limit
    assert len(widths) <= most


def test_z_is_the_mean_over_the_pairs_own_tokens(encoder):
    z = encoder.encode(PAIRS)
    assert (z.shape, z.dtype) == ((len(PAIRS), encoder.width), torch.float32)
    for row, (first, second) in zip(z, PAIRS, strict=True):
        tokens = encoder.tokenizer([first], [second], truncation="longest_first", max_length=64, return_tensors="pt")
        assert_close(row, encoder.backbone(**tokens).last_hidden_state[0].mean(dim=0))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 64])
def test_a_pairs_features_depend_on_neither_batch_nor_order(encoder, batch_size):
    shuffled = [3, 0, 5, 1, 4, 2]
    z = encoder.encode([PAIRS[i] for i in shuffled], batch_size)
    assert_close(z, encoder.encode(PAIRS)[shuffled], atol=1e-5, rtol=1e-5)
    # Else the order could be wrong unnoticed.
    assert torch.pdist(z).min() > 0.01


def test_features_can_be_learned_from(encoder):
    out = torch.zeros(32, requires_grad=True)
    (encoder.encode(PAIRS) @ out).sum().backward()
    assert (out.grad != 0).any()


def test_equal_pairs_are_encoded_once(encoder, monkeypatch):
    forward, rows = PairEncoder.forward, []
    monkeypatch.setattr(
        PairEncoder, "forward", lambda self, batch: rows.append(len(batch["input_ids"])) or forward(self, batch)
    )
    z = encoder.encode([PAIRS[0], PAIRS[1], PAIRS[0], PAIRS[0]])
    assert_close(z[[2, 3]], z[[0, 0]])
    assert sum(rows) == 2


def test_remembered_features_are_not_encoded_again(tiny_encoder, monkeypatch):
    encoder = PairEncoder.load(str(tiny_encoder), 64)
    encoder.remember(4)
    first = encoder.encode(PAIRS[:4])
    monkeypatch.setattr(PairEncoder, "forward", None)
    assert_close(encoder.encode(PAIRS[3::-1]), first[[3, 2, 1, 0]])


def test_no_more_features_are_remembered_than_told(tiny_encoder):
    encoder = PairEncoder.load(str(tiny_encoder), 64)
    for capacity in (3, 0):
        encoder.remember(capacity)
        assert_close(encoder.encode(PAIRS), PairEncoder.load(str(tiny_encoder), 64).encode(PAIRS))
        encoder.encode(PAIRS[:1])
        assert len(encoder._memory) == capacity


def test_no_pairs_have_no_features(encoder):
    assert encoder.encode([]).shape == (0, 32)


def test_what_was_saved_encodes_alike(encoder, tmp_path):
    encoder.save(tmp_path)
    assert_close(PairEncoder.load(str(tmp_path), 64).encode(PAIRS), encoder.encode(PAIRS))


@pytest.mark.parametrize(
    ("count", "trained"),
    [
        (None, ["embeddings", "0", "1", "2", "pooler"]),
        (0, []),
        (1, ["2"]),
        (2, ["1", "2"]),
        (3, ["0", "1", "2"]),
        pytest.param(
            4, ["0", "1", "2"], marks=pytest.mark.xfail(strict=True, reason="more layers than there are wrap around")
        ),
    ],
)
def test_only_the_top_layers_are_trained(count, trained):
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=3, num_attention_heads=1, intermediate_size=8)
    backbone = BertModel(config)
    PairEncoder(backbone, None, 64).train_top_layers(count)
    layers = {str(number): layer for number, layer in enumerate(backbone.encoder.layer)}
    parts = {"embeddings": backbone.embeddings, **layers, "pooler": backbone.pooler}
    wanted = {name: {p.requires_grad for p in part.parameters()} for name, part in parts.items()}
    assert wanted == {name: {name in trained} for name in parts}
