import numpy as np
import pytest
import torch
from defaults import computing, texts_encoder
from made_up_texts import DECISIONS, LONG
from torch.testing import assert_close
from transformers import BertConfig, BertModel

from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.models.lexical import lexical_features
from hydra_ray.models.precision import PRECISIONS

# How far numbers that are equal may differ; of bfloat16 three digits are exact.
NEAR = {"float32": 1e-5, "bfloat16": 0.06}


@pytest.fixture(params=PRECISIONS, autouse=True)
def near(request, monkeypatch):
    """All of it in either arithmetic, whatever a probe would find."""
    monkeypatch.setenv("HYDRA_PRECISION", request.param)
    return {"atol": NEAR[request.param], "rtol": NEAR[request.param]}


@pytest.fixture(scope="module")
def encoder(tiny_encoder):
    return texts_encoder(tiny_encoder, 64)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_long_text_keeps_its_start_and_costs_the_others_nothing(encoder, place):
    texts = ["drama : two cats meet", "comedy at first", "sci - fi"]
    texts[place] += f" {LONG}"
    judged, by, told = texts
    ids = encoder.tokenize([(judged, by, (told,))])["input_ids"]
    assert ids.shape[1] == 64
    kept = [encoder.tokenizer.decode(row, skip_special_tokens=True) for row in ids[:3]]
    assert kept[place].startswith(texts[place][: -len(LONG) - 1])
    assert [text for i, text in enumerate(kept) if i != place] == [t for i, t in enumerate(texts) if i != place]


@pytest.mark.parametrize(("limit", "most"), [(256, 32), (50, 50)])
def test_tensors_have_few_shapes_and_never_pass_the_limit(tiny_encoder, limit, most):
    encoder = texts_encoder(tiny_encoder, limit)
    shapes = {encoder.tokenize([("x " * count, "", ())])["input_ids"].shape for count in range(1, 300, 3)}
    assert max(width for _, width in shapes) == limit
    assert len(shapes) <= most


def test_each_distinct_text_is_read_once(encoder, rows):
    batch = encoder.tokenize(DECISIONS)
    assert batch["place"].shape == (len(DECISIONS), 3)
    assert batch["place"][4].tolist()[1:] == [-1, -1]
    assert batch["place"][5, 0] == batch["place"][5, 1] == batch["place"][0, 0]
    encoder.features(DECISIONS)
    distinct = {text for judged, by, told in DECISIONS for text in (judged, by, *told) if text}
    assert sum(rows) == len(distinct)


def test_z_is_the_judged_text_and_its_products_with_the_others(encoder, near):
    z = encoder.features(DECISIONS)
    assert (z.shape, z.dtype) == ((len(DECISIONS), encoder.width), torch.float32)

    def alone(text):
        if not text:
            return torch.zeros(32)
        tokens = encoder.tokenizer(text, truncation=True, max_length=64, return_tensors="pt")
        mean = encoder.backbone(**tokens).last_hidden_state[0].mean(dim=0)
        return mean / mean.norm() * 32**0.5

    for row, texts in zip(z, DECISIONS, strict=True):
        judged, by = map(alone, texts[:2])
        mean = sum((alone(answer) for answer in texts[2]), torch.zeros(32))
        answers = mean / mean.norm().clamp(min=1e-9) * 32**0.5
        lexical = torch.tensor(lexical_features(*texts))
        assert_close(row, torch.cat([judged, judged * by, judged * answers, lexical]), **near)


def test_words_tell_nothing_where_they_are_not_to(encoder):
    silent = TextsEncoder(encoder.backbone, encoder.tokenizer, encoder.max_tokens, encoder.computing, lexical=False)
    z, told = silent.features(DECISIONS), encoder.features(DECISIONS)
    assert not z[:, -3:].any()
    assert told[:, -3:].any()
    assert_close(z[:, :-3], told[:, :-3])
    assert not silent.tokenize(DECISIONS)["lexical"].any()


def test_training_and_scoring_see_the_same_features(encoder, near):
    assert_close(encoder(encoder.tokenize(DECISIONS)), encoder.features(DECISIONS), **near)


@pytest.fixture
def shapes(monkeypatch):
    """Rows and tokens of each pass of the backbone."""
    encode, shapes = TextsEncoder._encode, []

    def noting(self, tokens):
        shapes.append(tuple(tokens["input_ids"].shape))
        return encode(self, tokens)

    monkeypatch.setattr(TextsEncoder, "_encode", noting)
    return shapes


# A label beside each long query, in turn, and five times as many labels as queries.
LABELS_AND_QUERIES = [(f"label {n}", f"{LONG} {n % 4}", "") for n in range(20)]


def test_short_texts_are_not_padded_to_the_length_of_long_ones(encoder, shapes):
    encoder.features(LABELS_AND_QUERIES)
    assert sorted(width < 64 for _, width in shapes) == [False, True]
    if encoder.arithmetic == "bfloat16":
        assert all(rows in (1, 2, 4, 8) or rows % 16 == 0 for rows, _ in shapes)
    else:
        assert sorted(rows for rows, _ in shapes) == [4, 20], "no row stands for nothing"


def test_a_batch_of_training_takes_passes_of_like_length_and_the_same_step(encoder, shapes, near):
    decisions = [*LABELS_AND_QUERIES, *((f"{'robot ' * 30}{n}", "a robot", ()) for n in range(20))]
    tokens = encoder.tokenize(decisions)
    weights = encoder.backbone.encoder.layer[0].attention.self.query.weight
    told = {}
    for may_split in (True, False):
        encoder.may_split = may_split
        z = encoder(tokens)
        (gradient,) = torch.autograd.grad(z.square().sum(), weights)
        told[may_split] = z, gradient / gradient.norm()
    encoder.may_split = True
    *split, whole = shapes
    assert len({width for _, width in split}) == len(split) == 3
    assert sum(rows * width for rows, width in split) < whole[0] * whole[1]
    assert_close(told[True][0], told[False][0], **near)
    assert (told[True][1] - told[False][1]).norm() < near["atol"]


def test_what_a_user_answered_teaches_the_encoder(encoder):
    z = encoder(encoder.tokenize(DECISIONS[:1]))
    (learnt,) = torch.autograd.grad(z[0, 64:96].sum(), encoder.backbone.embeddings.word_embeddings.weight)
    answered = encoder.tokenizer("comedy", add_special_tokens=False)["input_ids"]
    assert learnt[answered].abs().max() > 0


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_features_depend_on_neither_batch_nor_order(encoder, batch_size, near):
    shuffled = [3, 0, 5, 1, 4, 2]
    z = encoder.features([DECISIONS[i] for i in shuffled], batch_size)
    assert_close(z, encoder.features(DECISIONS)[shuffled], **near)
    # Else the order could be wrong unnoticed.
    assert torch.pdist(z).min() > 0.01


def test_features_can_be_learned_from(encoder):
    weight = torch.zeros(2, encoder.width, requires_grad=True)
    torch.einsum("rw,bw->br", weight, encoder.features(DECISIONS)).sum().backward()
    assert (weight.grad != 0).any()


def test_remembered_texts_are_not_read_again(tiny_encoder, rows):
    encoder = texts_encoder(tiny_encoder, 64)
    counted = []
    encoder.remember(KeptEncodings(1 << 20, lambda *numbers: counted.append(numbers)))
    first = encoder.features(DECISIONS)
    rows.clear()
    assert_close(encoder.features(DECISIONS[::-1]), first.flip(0))
    assert rows == []
    (found, missed), again = counted
    assert (found, missed > 0, again) == (0, True, (missed, 0))


def test_no_more_texts_are_remembered_than_have_room(tiny_encoder, encoder, near):
    remembering = texts_encoder(tiny_encoder, 64)
    one = KeptEncodings(1 << 20)
    one.keep("encoder", {"text": np.zeros(32, np.float32)})
    for room in (3, 0):
        kept = KeptEncodings(room * one.nbytes)
        remembering.remember(kept)
        assert_close(remembering.features(DECISIONS), encoder.features(DECISIONS), **near)
        remembering.features(DECISIONS[:1])
        assert len(kept) == room


def test_rows_are_added_for_bfloat16_only(encoder, monkeypatch):
    encode, shapes = TextsEncoder._encode, []

    def noting(self, tokens):
        shapes.append(tokens["input_ids"].shape[0])
        return encode(self, tokens)

    monkeypatch.setattr(TextsEncoder, "_encode", noting)
    for texts in (1, 2, 3, 5, 17):
        encoder.features([(f"{'robot ' * 30} {number}", "", ()) for number in range(texts)])
    assert shapes == ([1, 2, 4, 8, 32] if encoder.arithmetic == "bfloat16" else [1, 2, 3, 5, 17])


def test_nothing_to_judge_has_no_features(encoder):
    assert encoder.features([]).shape == (0, encoder.width)


def test_each_batch_that_is_encoded_is_told(encoder):
    told = []
    encoder.features(DECISIONS, 2, lambda done, total: told.append((done, total)))
    assert told == [(2, 8), (4, 8), (6, 8), (8, 8)]


def test_what_was_saved_encodes_alike(encoder, tmp_path):
    encoder.save(tmp_path)
    assert_close(texts_encoder(tmp_path, 64).features(DECISIONS), encoder.features(DECISIONS))


@pytest.mark.parametrize(
    ("count", "trained"),
    [
        (None, ["embeddings", "0", "1", "2"]),
        (0, []),
        (1, ["2"]),
        (2, ["1", "2"]),
        (3, ["0", "1", "2"]),
        pytest.param(4, ["0", "1", "2"]),
    ],
)
def test_only_the_top_layers_are_trained(count, trained):
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=3, num_attention_heads=1, intermediate_size=8)
    backbone = BertModel(config)
    TextsEncoder(backbone, None, 64, computing(), lexical=True).train_top_layers(count)
    layers = {str(number): layer for number, layer in enumerate(backbone.encoder.layer)}
    parts = {"embeddings": backbone.embeddings, **layers, "pooler": backbone.pooler}
    found = {name: {p.requires_grad for p in part.parameters()} for name, part in parts.items()}
    assert found == {name: {name in trained} for name in parts}
