import pytest
import torch
from torch.testing import assert_close

from hydra_ray.models.heads import HEAD_KINDS, NO_USER, make_bank

USERS, WIDTH = 5, 12
# Pairs of one user stand apart, user 3 has none, and some pairs have no user.
OWNERS = torch.tensor([2, 0, NO_USER, 2, 4, 1, 0, NO_USER, 2, 4])

pytestmark = pytest.mark.parametrize("kind", list(HEAD_KINDS))


@pytest.fixture
def z():
    return torch.randn(len(OWNERS), WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def fresh(kind):
    return make_bank(kind, USERS, WIDTH, rank=3)


@pytest.fixture
def bank(fresh):
    """Heads as training may leave them."""
    random = torch.Generator().manual_seed(2)
    for p in fresh.parameters():
        p.data.normal_(generator=random)
    return fresh


def test_a_fresh_head_adds_nothing_and_can_learn(fresh, z):
    assert_close(fresh(z, OWNERS), torch.zeros(len(z)))
    fresh(z, OWNERS).sum().backward()
    assert (fresh.out.grad[[0, 1, 2, 4]] != 0).any(dim=1).all()


def test_no_user_adds_nothing(bank, z):
    assert (bank(z, torch.full_like(OWNERS, NO_USER)) == 0).all()
    assert (bank(z, OWNERS)[OWNERS == NO_USER] == 0).all()
    assert (bank(z, OWNERS)[OWNERS != NO_USER] != 0).all()


def test_a_batch_of_many_users_equals_one_user_at_a_time(bank, kind, z):
    together = bank(z, OWNERS)
    for user in (0, 1, 2, 4):
        alone = make_bank(kind, 1, WIDTH, rank=3)
        alone.put(0, bank.row(user))
        mine = user == OWNERS
        assert_close(together[mine], alone(z[mine], torch.zeros(int(mine.sum()), dtype=torch.long)))


def test_a_delta_is_out_of_tanh_of_the_projection(bank, kind, z):
    head = bank.row(2)
    hidden = z[0] @ head["project"].T if kind == "lowrank" else z[0] @ head["weight"].T + head["bias"]
    assert_close(bank(z, OWNERS)[0], torch.tanh(hidden) @ head["out"])


def test_a_head_goes_in_and_comes_out_unchanged(bank, kind):
    other = make_bank(kind, 2, WIDTH, rank=3)
    before = other.row(0)
    other.put(1, bank.row(3))
    assert_close(other.row(1), bank.row(3))
    assert_close(other.row(0), before)


def test_a_head_that_was_taken_out_does_not_change_with_the_bank(bank):
    taken = bank.row(1)
    taken["out"] += 1
    assert_close(bank.row(1)["out"], taken["out"] - 1)


@pytest.mark.parametrize("user", [0, 2, NO_USER])
def test_a_users_pairs_touch_no_other_head(bank, z, user):
    bank(z, OWNERS)[user == OWNERS].sum().backward()
    for p in bank.parameters():
        touched = (p.grad.flatten(1) != 0).any(dim=1)
        assert touched.tolist() == [row == user for row in range(USERS)]


def test_all_users_start_from_one_head_whatever_their_number(fresh, kind):
    alone = make_bank(kind, 1, WIDTH, rank=3).row(0)
    for user in range(USERS):
        assert_close(fresh.row(user), alone)


def test_the_penalty_is_each_users_own_distance_from_none(fresh):
    assert_close(fresh.penalty(), torch.zeros(USERS))
    fresh.out.data[1, :2] = torch.tensor([3.0, -4.0])
    assert_close(fresh.penalty(), torch.tensor([0.0, 25.0, 0.0, 0.0, 0.0]))
