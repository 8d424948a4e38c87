import pytest
import torch
from torch.testing import assert_close

from hydra_ray.models.heads import HEAD_KINDS
from hydra_ray.models.scorer import Scorer

DECISIONS = [
    ("drama", "two cats", "comedy"),
    ("comedy", "two cats", "comedy"),
    ("sci-fi", "a robot", ""),
    ("drama", "a king", ""),
]


def random_head(scorer, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(p.shape, generator=generator) for name, p in scorer.bank(1).row(0).items()}


@pytest.fixture(params=list(HEAD_KINDS))
def model(request, scorer):
    return scorer(kind=request.param)


def test_without_heads_the_shared_head_answers(model):
    assert_close(model.score(DECISIONS, [None] * 4), model.shared(model.encoder.features(DECISIONS)).detach())


def test_a_head_changes_its_own_users_decisions_only(model):
    shared = model.score(DECISIONS, [None] * 4)
    ann = random_head(model, 1)
    mixed = model.score(DECISIONS, [ann, None, ann, None])
    assert_close(mixed[[1, 3]], shared[[1, 3]])
    assert (mixed[[0, 2]] - shared[[0, 2]]).abs().min() > 1e-3


def test_users_scored_together_get_what_each_gets_alone(model):
    ann, bob = random_head(model, 1), random_head(model, 2)
    together = model.score(DECISIONS, [ann, bob, None, ann])
    assert_close(
        together,
        torch.stack(
            [
                model.score(DECISIONS, [ann] * 4)[0],
                model.score(DECISIONS, [bob] * 4)[1],
                model.score(DECISIONS, [None] * 4)[2],
                model.score(DECISIONS, [ann] * 4)[3],
            ]
        ),
        atol=1e-5,
        rtol=1e-5,
    )


def test_a_head_that_was_read_twice_scores_as_one(model):
    ann = random_head(model, 1)
    assert_close(model.score(DECISIONS, [dict(ann) for _ in DECISIONS]), model.score(DECISIONS, [ann] * 4))


def test_features_that_were_kept_score_as_texts_do(model):
    heads = [random_head(model, 1), None, None, None]
    assert_close(model.logits(model.encoder.features(DECISIONS), heads), model.score(DECISIONS, heads))


def test_what_was_saved_scores_alike_under_the_same_heads(model, tmp_path):
    model.save(tmp_path)
    loaded = Scorer.load(tmp_path)
    heads = [random_head(model, 1), None, random_head(model, 2), None]
    assert_close(loaded.score(DECISIONS, heads), model.score(DECISIONS, heads))
    assert (loaded.shape, loaded.encoder.max_tokens) == (model.shape, 64)
    assert not loaded.training


def test_nothing_that_is_saved_is_a_pickle(model, tmp_path):
    model.save(tmp_path)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in written} <= {".json", ".safetensors", ".txt"}
    # A pickle of protocol 2 or later starts with 0x80; torch.save writes a zip.
    assert not [path for path in written if path.read_bytes()[:2] in (b"PK", b"\x80\x02", b"\x80\x04")]


def test_a_published_scorer_has_no_room_for_users(model, tmp_path):
    assert set(model.state_dict()) == {
        *(f"encoder.{name}" for name in model.encoder.state_dict()),
        "shared.dense.weight",
        "shared.dense.bias",
        "shared.out.weight",
        "shared.out.bias",
    }
