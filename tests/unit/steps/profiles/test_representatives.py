import numpy as np
import pytest

from hydra_ray.records import PeerItem, UserKey
from hydra_ray.steps.profiles.representatives import representatives

# Answers as points of a plane: three groups far from each other, and where the user is.
POINTS = {
    "own": (1.0, 0.0),
    **{f"near {n}": (0.99, 0.02 * n) for n in range(3)},
    **{f"up {n}": (0.02 * n - 0.02, 1.0) for n in range(3)},
    **{f"left {n}": (-1.0, 0.02 * n - 0.02) for n in range(3)},
}


def embed(texts):
    return np.array([POINTS[text] for text in texts], np.float32)


@pytest.fixture
def peers(item):
    names = [name for name in POINTS if name != "own"]
    return [PeerItem(UserKey("acme", name), item("film", name, id=name)) for name in names]


def outputs(found):
    return [peer.item.output for peer in found]


def test_each_group_but_the_users_own_is_stood_for_by_its_middle(peers):
    assert outputs(representatives("own", peers, 2, embed, seed=0)) == ["up 1", "left 1"]


def test_the_same_seed_gives_the_same_peers(peers):
    first = representatives("own", peers, 4, embed, seed=3)
    assert first == representatives("own", peers, 4, embed, seed=3)
    assert 1 <= len(first) <= 4
    assert len(set(outputs(first))) == len(first)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_fewer_peers_than_wanted_all_stay_and_nothing_is_embedded(peers, count):
    def never(_):
        raise AssertionError("there is nothing to choose")

    assert representatives("own", peers[:count], 4, never, seed=0) == peers[:count]


def test_peers_who_all_answer_as_the_user_are_no_difference(item):
    same = [PeerItem(UserKey("acme", str(n)), item("film", "own", id=str(n))) for n in range(9)]
    assert representatives("own", same, 2, embed, seed=0) == []
