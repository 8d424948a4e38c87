import numpy as np
import pytest
import torch

from hydra_ray.learn.heads.cohorts import Cohorts, user_vector
from hydra_ray.learn.tune.cohorts import find_cohorts, searched_cohorts
from hydra_ray.learn.tune.space import CohortRules
from hydra_ray.models.features import UserFeatures

WIDTH = 6
RULES = CohortRules(clusters=2, amounts={"little": 0, "much": 4}, min_users=4)


def user(axis, groups, seed=0):
    """Prefers, in each group, the decision that points along one axis."""
    random = torch.Generator().manual_seed(seed)
    z = 0.1 * torch.randn(2 * groups, WIDTH, generator=random)
    z[::2, axis] += 1
    z[1::2, (axis + 1) % WIDTH] += 1
    scores = torch.tensor([1.0, 0.0] * groups)
    sizes, queries = torch.full((groups,), 2), tuple(map(str, range(groups)))
    return UserFeatures(z.half(), sizes, scores, torch.zeros(2 * groups), queries)


def test_a_user_vector_points_where_the_users_preferences_are():
    vector = user_vector(user(axis=2, groups=5))
    assert vector.argmax() == 2
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_users_of_like_taste_share_a_cluster_and_the_amount_divides_it():
    users = [user(0, 2 + 4 * (n % 2), n) for n in range(10)] + [user(3, 2 + 4 * (n % 2), n) for n in range(10)]
    cohorts = find_cohorts(users, RULES, seed=0)
    names = [cohorts.of(one) for one in users]
    first, second = {name.split("-")[0] for name in names[:10]}, {name.split("-")[0] for name in names[10:]}
    assert len(first) == len(second) == 1
    assert first != second
    assert [name.split("-")[1] for name in names[:4]] == ["little", "much", "little", "much"]
    # Somebody who was not there when cohorts were found.
    assert cohorts.of(user(3, 9, seed=77)) == f"{second.pop()}-much"


def test_one_cluster_and_fewer_users_than_clusters_are_no_trouble():
    users = [user(0, 2), user(3, 2, 1)]
    assert find_cohorts(users, CohortRules(clusters=1), seed=0).centroids.shape == (1, WIDTH)
    assert find_cohorts(users, CohortRules(clusters=9), seed=0).centroids.shape == (2, WIDTH)


def test_an_amount_begins_where_its_name_says():
    cohorts = Cohorts(np.zeros((1, WIDTH), np.float32), {"little": 0, "some": 2, "much": 4})
    assert [cohorts.of(user(0, n)) for n in (1, 2, 3, 4, 9)] == ["0-little", "0-some", "0-some", "0-much", "0-much"]


def test_only_cohorts_large_enough_to_tell_are_searched_the_largest_first():
    names = ["a"] * 5 + ["b"] * 7 + ["c"] * 3 + ["d"] * 4
    assert searched_cohorts(names, CohortRules(min_users=4)) == ["b", "a", "d"]
    assert searched_cohorts(names, CohortRules(min_users=4, most=1)) == ["b"]
