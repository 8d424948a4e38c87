import torch
from hypothesis import given
from hypothesis import strategies as st
from made_up_users import make_user
from torch.testing import assert_close

from hydra_ray.models.features import pad

histories = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=4)


def users_of(histories):
    return [make_user(seed, sizes) for seed, sizes in enumerate(histories)]


@given(histories=histories)
def test_what_was_padded_is_picked_out_again(histories):
    users = users_of(histories)
    batch = pad(users)
    assert batch.z.shape[:2] == (len(users), max(sum(sizes) for sizes in histories))
    for name in ("z", "scores", "priors"):
        told = torch.cat([getattr(user, name) for user in users])
        assert_close(batch.pick(batch.z) if name == "z" else getattr(batch, name), told, atol=0, rtol=0)
    # What no user's decision stands at is zero.
    assert_close(batch.z.abs().sum(), sum(user.z.abs().sum() for user in users))


@given(histories=histories)
def test_priors_stand_where_their_decisions_do_and_are_zero_elsewhere(histories):
    users = users_of(histories)
    for padded, user in zip(pad(users).known, users, strict=True):
        assert_close(padded[: len(user.priors)], user.priors, atol=0, rtol=0)
        assert not padded[len(user.priors) :].any()


@given(histories=histories)
def test_each_decision_knows_its_group_and_each_group_its_user(histories):
    batch = pad(users_of(histories))
    sizes = [size for one in histories for size in one]
    assert batch.group.tolist() == [number for number, size in enumerate(sizes) for _ in range(size)]
    assert batch.owner.tolist() == [row for row, one in enumerate(histories) for _ in one]
    assert batch.counts.tolist() == [len(one) for one in histories]
    assert (batch.at // batch.z.shape[1]).tolist() == batch.owner[batch.group].tolist()


def test_values_of_groups_add_up_by_user():
    batch = pad(users_of([[2, 1], [3], [1, 1, 1]]))
    assert batch.by_user(torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])).tolist() == [3, 4, 56]


def test_groups_are_cut_out_with_all_that_belongs_to_them():
    user = make_user(0, sizes=(3, 2, 4))
    cut = user.groups(1, 3)
    assert (cut.sizes.tolist(), cut.observation_ids) == ([2, 4], ("item 1", "item 2"))
    assert_close((cut.z, cut.scores, cut.priors), (user.z[3:], user.scores[3:], user.priors[3:]), atol=0, rtol=0)
    assert_close(user.groups(0, 2).z, user.z[:5], atol=0, rtol=0)
    assert len(user.groups(0, 0).z) == 0


def test_features_in_half_precision_are_padded_in_single():
    user = make_user(0)
    half = type(user)(user.z.half(), user.sizes, user.scores, user.priors, user.observation_ids)
    assert pad([half]).z.dtype == torch.float32
    assert_close(pad([half]).z[0], user.z.half().float(), atol=0, rtol=0)
