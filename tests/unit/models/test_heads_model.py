from dataclasses import replace
from itertools import permutations

import pytest
import torch
from defaults import fit_options
from made_up_users import WIDTH, make_head, make_model, make_user, with_taste
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from hydra_ray.models.features import pad
from hydra_ray.models.heads import HEAD_KINDS, Head, HeadModel, check_kind
from hydra_ray.models.heads.lowrank import LowRank
from hydra_ray.records import HydraError

every_kind = pytest.mark.parametrize("kind", list(HEAD_KINDS))


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def z():
    return torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def shared(model, z):
    return model.shared(z)


def test_users_without_a_head_get_exactly_the_shared_logits(model, z, shared):
    assert_close(model.logits(z, [None] * 6), shared, atol=0, rtol=0)


@every_kind
def test_a_head_changes_its_own_users_decisions_only(model, z, shared, kind):
    ann = make_head(model, kind, seed=1)
    mixed = model.logits(z, [ann, None, ann, None, None, ann])
    assert_close(mixed[[1, 3, 4]], shared[[1, 3, 4]], atol=0, rtol=0)
    assert (mixed[[0, 2, 5]] - shared[[0, 2, 5]]).abs().min() > 1e-4


@every_kind
def test_users_scored_together_get_what_each_gets_alone(model, z, kind):
    ann, bob = make_head(model, kind, seed=1), make_head(model, kind, seed=2)
    whose = [ann, bob, None, bob, ann, ann]
    alone = [model.logits(z[[place]], [head])[0] for place, head in enumerate(whose)]
    assert_close(model.logits(z, whose), torch.stack(alone), atol=1e-5, rtol=1e-5)
    assert (model.logits(z, [ann] * 6) - model.logits(z, [bob] * 6)).abs().max() > 1e-3


@pytest.mark.parametrize("kinds", list(permutations(HEAD_KINDS, 2)), ids="-".join)
def test_kinds_mix_in_one_batch(model, z, kinds):
    first, second = (make_head(model, kind, seed) for seed, kind in enumerate(kinds))
    whose = [second, first, None, first, second, second]
    alone = [model.logits(z[[place]], [head])[0] for place, head in enumerate(whose)]
    assert_close(model.logits(z, whose), torch.stack(alone), atol=1e-5, rtol=1e-5)


def test_heads_of_different_rank_mix_in_one_batch(model, z):
    small, large = (make_head(model, "lowrank", seed=1, rank=rank) for rank in (2, 5))
    whose = [small, large] * 3
    alone = [model.logits(z[[place]], [head])[0] for place, head in enumerate(whose)]
    assert_close(model.logits(z, whose), torch.stack(alone), atol=1e-5, rtol=1e-5)


@every_kind
def test_a_head_that_was_read_twice_scores_as_one(model, z, kind):
    ann = make_head(model, kind, seed=1)
    copies = [Head(ann.kind, dict(ann.tensors)) for _ in z]
    assert_close(model.logits(z, copies), model.logits(z, [ann] * 6), atol=1e-5, rtol=1e-5)


@every_kind
def test_heads_come_in_the_order_of_their_users(model, z, kind):
    users, options = [make_user(1, (3, 4)), make_user(2, (2,)), make_user(3)], fit_options(rank=3, steps=20, lr=0.1)
    about = {"prior_weight": 0.5}
    heads = model.fit(kind, users, options, about)
    assert [(head.kind, head.about) for head in heads] == [(kind, about)] * 3
    together = torch.stack([model.logits(z, [head] * 6) for head in heads])
    alone = torch.stack([model.logits(z, model.fit(kind, [user], options, about) * 6) for user in users])
    # Kept in bfloat16, and Adam enlarges rounding: near the user's own head, far from all others.
    distance = torch.cdist(together, alone)
    assert distance.diagonal().max() < 0.1 * (distance + torch.eye(3) * 100).min()


@every_kind
def test_fitting_leaves_the_base_as_it_was(kind):
    model = make_model()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    model.fit(kind, [make_user(1), make_user(2)], fit_options(rank=3, steps=5))
    assert_close(dict(model.state_dict()), before, atol=0, rtol=0)
    assert not [name for name, p in model.named_parameters() if p.grad is not None]


def test_a_delta_is_added_to_the_shared_logit_and_to_what_is_known_before():
    model, users = make_model(), [make_user(1, (3, 4)), make_user(2, (2,))]
    model.prior.fill_(0.5)
    for row, user in zip(model.offset(pad(users)), users, strict=True):
        assert_close(row[: len(user.z)], model.shared(user.z) + 0.5 * user.priors)


@pytest.mark.parametrize("kind", ["lowrank", "dense", "bases"])
def test_a_head_need_not_tell_what_is_known_before(model, shared, z, kind):
    user = with_taste(torch.ones(WIDTH), 1)
    unknown, known = (replace(user, priors=priors) for priors in (0 * user.scores, 5 * user.scores - 5))
    heads = model.fit(kind, [unknown, known], fit_options(rank=3, steps=60, lr=0.02))
    much, little = ((model.logits(z, [head] * 6) - shared).norm() for head in heads)
    assert little < 0.7 * much


def test_what_was_saved_comes_back_with_its_common_parts(model, tmp_path):
    model.save(tmp_path)
    loaded = HeadModel.load(tmp_path)
    assert (loaded.width, loaded.training) == (WIDTH, False)
    assert_close(dict(loaded.state_dict()), dict(model.state_dict()), atol=0, rtol=0)
    assert {"shared.out.weight", "commons.bases.scale", "commons.facets.router.weight"} <= set(loaded.state_dict())


def test_a_model_has_no_room_for_users(model):
    parts = {name.split(".")[0] for name in model.state_dict()}
    assert parts == {"shared", "prior", "commons"}


class Shift(nn.Module):
    """What heads of a kind that came later share."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.ones(width))


class Later(LowRank):
    """A kind that some version has and another has not."""

    name = "later"

    def common(self, width: int) -> Shift:
        return Shift(width)


@pytest.fixture
def later(monkeypatch):
    """Registers the kind, until it is taken back."""
    monkeypatch.setitem(HEAD_KINDS, "later", Later())
    return lambda: monkeypatch.delitem(HEAD_KINDS, "later")


def test_a_model_from_before_there_was_a_kind_loads_with_all_that_it_has(model, z, later, tmp_path):
    model.save(tmp_path)
    heads = [make_head(model, kind, seed=1) for kind in HEAD_KINDS if kind != "later"] + [None] * 2
    loaded = HeadModel.load(tmp_path)
    assert_close(loaded.logits(z, heads), model.logits(z, heads), atol=0, rtol=0)
    assert set(loaded.state_dict()) == set(model.state_dict())


def test_a_kind_that_a_model_lacks_is_refused_with_a_way_out(model, z, later, tmp_path):
    model.save(tmp_path)
    loaded, observed = (
        HeadModel.load(tmp_path),
        r"^heads of kind later need a part .* train again, or fit .*fit\.head\.kind",
    )
    asked = [
        lambda: loaded.fit("later", [make_user(1)], fit_options(steps=1)),
        lambda: loaded.common("later"),
        lambda: loaded.logits(z, [Head("later", make_head(model, "lowrank", seed=1).tensors)] * 6),
        lambda: check_kind(tmp_path, "later"),
    ]
    for ask in asked:
        with pytest.raises(HydraError, match=observed):
            ask()
    # Saved again it still lacks it.
    loaded.save(tmp_path)
    with pytest.raises(HydraError, match=observed):
        HeadModel.load(tmp_path).common("later")


def test_parts_of_a_kind_that_is_not_known_are_left_out_and_said(z, later, tmp_path, caplog):
    newer = make_model()
    newer.save(tmp_path)
    check_kind(tmp_path, "later")
    later()
    loaded = HeadModel.load(tmp_path)
    assert "this version does not know are left out: later" in caplog.text
    bases = [make_head(loaded, "bases", seed=1)] * 6
    assert_close(loaded.logits(z, bases), newer.logits(z, bases), atol=0, rtol=0)
    for ask in (lambda: loaded.logits(z, [Head("later", bases[0].tensors)] * 6), lambda: check_kind(tmp_path, "later")):
        with pytest.raises(HydraError, match="knows no heads of kind later: it knows lowrank, dense"):
            ask()


@every_kind
def test_a_model_has_what_it_was_saved_with(model, tmp_path, kind):
    model.save(tmp_path)
    check_kind(tmp_path, kind)


@pytest.mark.parametrize("lost", ["shared.out.weight", "commons.facets.router.weight", "prior"])
def test_a_model_that_lost_some_of_its_weights_is_damaged(model, tmp_path, lost):
    save_file({name: p for name, p in model.state_dict().items() if name != lost}, tmp_path / "heads.safetensors")
    with pytest.raises(HydraError, match=rf"heads\.safetensors: damaged, or not of this version: .*{lost}"):
        HeadModel.load(tmp_path)


def test_a_file_that_is_cut_off_is_damaged(model, tmp_path):
    model.save(tmp_path)
    path = tmp_path / "heads.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    for read in (HeadModel.load, lambda folder: check_kind(folder, "bases")):
        with pytest.raises(HydraError, match=r"heads\.safetensors: damaged"):
            read(tmp_path)
