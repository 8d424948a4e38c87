import random
from collections import Counter

import pytest

from hydra_ray.evaluate.controls import best_candidate, closed_gap, majority, other_users, random_candidate
from hydra_ray.records import Candidate, UserKey
from hydra_ray.tasks import Task

TAGS = Task(name="tags", kind="classification", labels=("comedy", "dark comedy", "sci-fi"))
STARS = Task(name="stars", kind="rating", labels=("1", "2", "3", "4", "5"))


def candidates(**votes: int) -> list[Candidate]:
    return [Candidate(text, count) for text, count in votes.items()]


def users(count: int) -> list[UserKey]:
    return [UserKey("tenant", f"user {place}") for place in range(count)]


def test_majority_is_the_most_sampled():
    assert majority(candidates(comedy=2, drama=5, western=1)) == "drama"


def test_of_equally_sampled_answers_the_first_wins():
    assert majority(candidates(comedy=1, drama=3, western=3)) == "drama"


def test_a_random_candidate_is_drawn_by_its_votes():
    rng = random.Random(0)
    drawn = Counter(random_candidate(candidates(comedy=6, drama=2, western=0), rng) for _ in range(4000))

    assert drawn["comedy"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert drawn["western"] == 0


def test_without_votes_all_candidates_are_equally_likely():
    rng = random.Random(0)
    drawn = Counter(random_candidate(candidates(comedy=0, drama=0), rng) for _ in range(2000))

    assert drawn["comedy"] / 2000 == pytest.approx(0.5, abs=0.05)


def test_the_oracle_finds_the_gold_answer_and_not_one_that_contains_it():
    offered = [Candidate("dark comedy", 7), Candidate("Comedy.", 1)]

    assert best_candidate(offered, "comedy", TAGS) == "Comedy."


def test_the_oracle_takes_the_nearest_where_none_is_right():
    assert best_candidate([Candidate("?"), Candidate("1"), Candidate("3")], "4", STARS) == "3"


def test_no_candidates_give_no_answer():
    assert (majority([]), random_candidate([], random.Random(0)), best_candidate([], "comedy", TAGS)) == ("", "", "")


@pytest.mark.parametrize(
    ("hydra", "chosen_most", "best", "share"),
    [(0.55, 0.5, 0.7, 0.25), (0.45, 0.5, 0.7, -0.25), (0.4, 0.5, 0.3, 0.5), (0.5, 0.5, 0.5, None)],
)
def test_closed_gap(hydra, chosen_most, best, share):
    assert closed_gap(hydra, chosen_most, best) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize("count", [2, 3, 50])
def test_every_user_gets_another_one_and_each_is_lent_once(count):
    others = other_users(users(count), seed=0)

    assert set(others) == set(others.values()) == set(users(count))
    assert all(user != other for user, other in others.items())


def test_the_pairing_depends_on_the_seed_and_not_on_the_order():
    assert other_users(users(20), seed=1) == other_users(reversed(users(20)), seed=1)
    assert other_users(users(20), seed=1) != other_users(users(20), seed=2)


def test_a_user_alone_has_no_other():
    assert other_users(users(1), seed=0) == {}
