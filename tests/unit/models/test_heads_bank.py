import pytest
import torch
from made_up_users import WIDTH, make_head, make_model
from torch.testing import assert_close

from hydra_ray.models.heads import HEAD_KINDS
from hydra_ray.models.heads.bank import NO_USER, HeadBank, deltas

USERS = 5
# Decisions of one user stand apart, user 3 has none, and some decisions have no user.
OWNERS = torch.tensor([2, 0, NO_USER, 2, 4, 1, 0, NO_USER, 2, 4])
TRAINED_WITH_THE_BASE = ["lowrank", "dense"]

every_kind = pytest.mark.parametrize("kind", list(HEAD_KINDS))
trained_kind = pytest.mark.parametrize("kind", TRAINED_WITH_THE_BASE)


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def z():
    return torch.randn(len(OWNERS), WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def heads(model, kind):
    """Five users' heads side by side, random in every parameter."""
    random = torch.Generator().manual_seed(2)
    like = make_head(model, kind, seed=0).tensors
    return {name: torch.randn(USERS, *p.shape, generator=random).requires_grad_() for name, p in like.items()}


@pytest.fixture
def judge(model, kind):
    """Deltas of decisions under stacked heads."""
    return lambda heads, owners, z: deltas(HEAD_KINDS[kind], heads, owners, z, model.common(kind))


@pytest.fixture
def fresh(kind):
    return HeadBank(HEAD_KINDS[kind], USERS, WIDTH, rank=3)


@every_kind
def test_no_user_adds_nothing(judge, heads, z):
    assert (judge(heads, torch.full_like(OWNERS, NO_USER), z) == 0).all()
    assert (judge(heads, OWNERS, z)[OWNERS == NO_USER] == 0).all()
    assert (judge(heads, OWNERS, z)[OWNERS != NO_USER] != 0).all()


@every_kind
def test_a_batch_of_many_users_equals_one_user_at_a_time(judge, heads, z):
    together = judge(heads, OWNERS, z)
    for user in (0, 1, 2, 4):
        alone = {name: p[user : user + 1] for name, p in heads.items()}
        mine = user == OWNERS
        assert_close(together[mine], judge(alone, torch.zeros(int(mine.sum()), dtype=torch.long), z[mine]))


@every_kind
def test_heads_of_users_who_are_absent_are_not_even_read(judge, heads, z):
    spoilt = {name: p.detach().clone() for name, p in heads.items()}
    for p in spoilt.values():
        p[3] = torch.nan
    assert_close(judge(spoilt, OWNERS, z), judge(heads, OWNERS, z), atol=0, rtol=0)


@every_kind
@pytest.mark.parametrize("user", [0, 2, NO_USER])
def test_a_users_decisions_touch_no_other_head(judge, heads, z, user):
    judge(heads, OWNERS, z)[user == OWNERS].sum().backward()
    # The precision of a posterior is no part of the delta.
    for p in (p for p in heads.values() if p.grad is not None):
        touched = (p.grad.flatten(1) != 0).any(dim=1)
        assert touched.tolist() == [row == user for row in range(USERS)]


@trained_kind
def test_a_fresh_head_adds_nothing_and_can_learn(fresh, z):
    assert_close(fresh(z, OWNERS), torch.zeros(len(z)), atol=0, rtol=0)
    fresh(z, OWNERS).sum().backward()
    assert (fresh.heads["out"].grad[[0, 1, 2, 4]] != 0).any(dim=1).all()


@trained_kind
def test_a_delta_is_out_of_tanh_of_the_projection(judge, kind, heads, z):
    head = {name: p[2] for name, p in heads.items()}
    hidden = z[0] @ head["project"].T if kind == "lowrank" else z[0] @ head["weight"].T + head["bias"]
    assert_close(judge(heads, OWNERS, z)[0], torch.tanh(hidden) @ head["out"])


@trained_kind
def test_a_head_that_was_taken_out_does_not_change_with_the_bank(fresh, kind):
    taken = HEAD_KINDS[kind].apart(dict(fresh.heads.items()))[1]
    fresh.heads["out"].data += 1
    assert_close(taken.tensors["out"], torch.zeros_like(taken.tensors["out"]))


@trained_kind
def test_all_users_start_from_one_head_whatever_their_number(fresh, kind):
    alone = HeadBank(HEAD_KINDS[kind], 1, WIDTH, rank=3).heads
    for name, stacked in fresh.heads.items():
        assert_close(stacked, alone[name].expand_as(stacked), atol=0, rtol=0)


@trained_kind
def test_the_penalty_is_each_users_own_distance_from_none(fresh, kind):
    assert_close(HEAD_KINDS[kind].penalty(fresh.heads), torch.zeros(USERS))
    fresh.heads["out"].data[1, :2] = torch.tensor([3.0, -4.0])
    assert_close(HEAD_KINDS[kind].penalty(fresh.heads), torch.tensor([0.0, 25.0, 0.0, 0.0, 0.0]))
