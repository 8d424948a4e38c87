import math
import random
from collections import Counter

import pytest
from made_runs import STARS, TAGS, TITLES, asked, judged

from hydra_ray.evaluate.scoring.controls import (
    best_candidate,
    other_users,
    preferred_candidate,
    random_candidate,
    yardsticks,
)
from hydra_ray.records import Candidate, UserKey


def candidates(**votes: int) -> list[Candidate]:
    return [Candidate(text, count) for text, count in votes.items()]


def users(count: int) -> list[UserKey]:
    return [UserKey("tenant", f"user {place}") for place in range(count)]


def test_a_random_candidate_is_drawn_by_its_votes():
    rng = random.Random(0)
    drawn = Counter(random_candidate(candidates(comedy=6, drama=2, western=0), rng) for _ in range(4000))

    assert drawn["comedy"] / 4000 == pytest.approx(0.75, abs=0.03)
    assert drawn["western"] == 0


def test_without_votes_all_candidates_are_equally_likely():
    rng = random.Random(0)
    drawn = Counter(random_candidate(candidates(comedy=0, drama=0), rng) for _ in range(2000))

    assert drawn["comedy"] / 2000 == pytest.approx(0.5, abs=0.05)


def test_the_adapters_choice_is_the_most_preferred_or_the_one_of_highest_expected_score():
    # Preferred by 0.4, 0.25 and 0.35; but a rating between the others is never far off.
    offered = judged(0.0, **{"1": (1, math.log(0.4)), "3": (1, math.log(0.25)), "5": (1, math.log(0.35))})

    assert preferred_candidate(offered, STARS, expected=False) == "1"
    assert preferred_candidate(offered, STARS, expected=True) == "3"
    assert preferred_candidate([], STARS, expected=True) == preferred_candidate([], STARS, expected=False) == ""


def test_the_oracle_finds_the_gold_answer_and_not_one_that_contains_it():
    offered = [Candidate("dark comedy", 7), Candidate("Comedy.", 1)]

    assert best_candidate(offered, "comedy", TAGS) == "Comedy."


def test_the_oracle_takes_the_nearest_where_none_is_right():
    assert best_candidate([Candidate("?"), Candidate("1"), Candidate("3")], "4", STARS) == "3"


def test_no_candidates_give_no_answer():
    assert (random_candidate([], random.Random(0)), best_candidate([], "comedy", TAGS)) == ("", "")


def test_yardsticks_know_users_most_frequent_answers_and_no_gold_ones():
    known = [
        asked("a", "q1", gold="1", most_frequent="4", history_items=3),
        # A user with many queries is still one user.
        *(asked("b", f"q{place}", gold="1", most_frequent="2", history_items=9) for place in range(2, 6)),
        asked("c", "q6", gold="1", most_frequent="4", history_items=1),
        asked("d", "q7", gold="1"),
    ]

    found = yardsticks(STARS, known)

    assert found == {"most-frequent": ["4", "2", "2", "2", "2", "4", "4"], "constant": ["4"] * 7}


def test_a_users_vote_for_the_constant_is_from_the_longest_history():
    known = [
        asked("a", "q1", most_frequent="5", history_items=1),
        asked("a", "q2", most_frequent="3", history_items=8),
        asked("a", "q3", most_frequent="5", history_items=2),
    ]

    assert yardsticks(STARS, known)["constant"] == ["3"] * 3


def test_a_class_has_no_constant_and_a_text_no_yardstick():
    known = [asked("a", "q1", most_frequent="comedy", history_items=1)]

    assert yardsticks(TAGS, known) == {"most-frequent": ["comedy"]}
    assert yardsticks(TITLES, known) == {}
    assert yardsticks(STARS, [asked("a", "q1")]) == {}, "nobody has a history"


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
