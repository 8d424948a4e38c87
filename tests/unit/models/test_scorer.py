import json

import pytest
import torch
from defaults import load_scorer
from made_up_users import make_head
from torch.testing import assert_close

from hydra_ray.models.heads import HEAD_KINDS

DECISIONS = [
    ("drama", "two cats", ("comedy",)),
    ("comedy", "two cats", ("comedy",)),
    ("sci-fi", "a robot", ()),
    ("drama", "a king", ()),
]


@pytest.fixture
def model(scorer):
    return scorer()


@pytest.fixture
def heads(model):
    """One head of each kind."""
    return [make_head(model.heads, kind, seed) for seed, kind in enumerate(HEAD_KINDS)]


def test_without_heads_the_shared_head_answers(model):
    shared = model.heads.shared(model.encoder.features(DECISIONS))
    assert_close(model.score(DECISIONS, [None] * 4), shared, atol=0, rtol=0)


def test_each_decision_is_scored_under_the_head_that_stands_beside_it(model, heads):
    together = model.score(DECISIONS, heads)
    for place, head in enumerate(heads):
        assert_close(together[place], model.score(DECISIONS, [head] * 4)[place], atol=1e-5, rtol=1e-5)
    assert (together - model.score(DECISIONS, [None] * 4)).abs().min() > 1e-3


def test_features_that_were_kept_score_as_texts_do(model, heads):
    kept = model.encoder.features(DECISIONS)
    assert_close(model.heads.logits(kept, heads), model.score(DECISIONS, heads), atol=0, rtol=0)


def test_what_was_saved_scores_alike_under_the_same_heads(model, heads, tmp_path):
    model.save(tmp_path)
    loaded = load_scorer(tmp_path)
    assert_close(loaded.score(DECISIONS, heads), model.score(DECISIONS, heads))
    assert (loaded.encoder.max_tokens, loaded.trained_in) == (64, "float32")
    assert not loaded.training


@pytest.mark.parametrize("lexical", [True, False])
def test_a_scorer_goes_on_reading_words_as_it_was_trained_to(model, tmp_path, lexical):
    model.encoder.lexical = lexical
    model.save(tmp_path)
    assert load_scorer(tmp_path).encoder.lexical == lexical


SAID = [
    {"votes:bm25": -0.2, "greedy:bm25": 1.0},
    {"votes:bm25": -1.5},
    {"votes:bm25": -3.0, "votes:of-later": 7.0},
    {},
]


def test_numbers_beside_texts_are_read_by_their_names_and_none_is_zero(scorer, tmp_path):
    model = scorer(beside=("greedy:bm25", "votes:bm25"))
    with torch.no_grad():
        model.heads.shared.lexical[-2:] = torch.tensor([2.0, 1.0])
    model.save(tmp_path)
    loaded = load_scorer(tmp_path)
    assert loaded.beside == ("greedy:bm25", "votes:bm25")
    head = make_head(model.heads, "lowrank", 0)
    for read in (model, loaded):
        z = read.features(DECISIONS, SAID)
        assert z[:, -2:].tolist() == [[1.0, pytest.approx(-0.2)], [0.0, -1.5], [0.0, -3.0], [0.0, 0.0]]
        assert_close(read.score(DECISIONS, [head] * 4, SAID), model.heads.logits(z, [head] * 4))
        assert_close(read.features(DECISIONS)[:, -2:], torch.zeros(4, 2))
    assert (model.score(DECISIONS, [None] * 4, SAID) - model.score(DECISIONS, [None] * 4))[3] == 0
    assert (model.score(DECISIONS, [None] * 4, SAID) - model.score(DECISIONS, [None] * 4))[:3].abs().min() > 0.1


def test_a_scorer_of_before_there_were_numbers_beside_texts_scores_as_it_did(model, heads, tmp_path):
    model.save(tmp_path)
    about = json.loads((tmp_path / "scorer.json").read_text())
    assert about.pop("beside") == []
    (tmp_path / "scorer.json").write_text(json.dumps(about))
    # Digit for digit: by what computes the one in memory, which may be trained.
    loaded = load_scorer(tmp_path, runtime="torch")
    assert loaded.width == loaded.encoder.width
    assert_close(loaded.score(DECISIONS, heads, SAID), model.score(DECISIONS, heads), atol=0, rtol=0)


def test_nothing_that_is_saved_is_a_pickle(model, tmp_path):
    model.save(tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} <= {".json", ".safetensors", ".txt"}
    # A pickle of protocol 2 or later starts with 0x80; torch.save writes a zip.
    assert not [path for path in written if path.read_bytes()[:2] in (b"PK", b"\x80\x02", b"\x80\x04")]


def test_scoring_asks_for_no_gradients(model, heads):
    assert not model.score(DECISIONS, heads).requires_grad
    assert model.score(DECISIONS, heads).dtype == torch.float32
