"""How the LLM is asked for candidates."""

import pytest

from hydra_ray.records import LEFT_TO_THE_LLM, Generation, Message, Usage, UserKey
from hydra_ray.steps.candidates import candidate_requests, joined

ANN = UserKey("acme", "ann")
CHAT = (Message("user", "Which tag?"),)


def asked(count, greedy):
    return [(r.n, r.temperature) for r in candidate_requests(CHAT, count, 0.9, greedy, 16, 7, (), LEFT_TO_THE_LLM)]


@pytest.mark.parametrize(
    ("count", "greedy", "requests"),
    [(8, False, [(8, 0.9)]), (8, True, [(1, 0.0), (7, 0.9)]), (1, True, [(1, 0.0)]), (1, False, [(1, 0.9)])],
)
def test_the_requests_bring_as_many_answers_as_wanted(count, greedy, requests):
    assert asked(count, greedy) == requests


def test_all_requests_are_of_the_same_chat():
    for request in candidate_requests(CHAT, 8, 0.9, True, 16, 7, (ANN,), LEFT_TO_THE_LLM):
        assert (request.messages, request.max_tokens, request.seed, request.users) == (CHAT, 16, 7, (ANN,))


def test_answers_are_joined_in_the_order_of_the_requests_and_cost_adds_up():
    both = joined((Generation(("drama",), Usage(1, 10, 2)), Generation(("comedy", "drama"), Usage(0, 10, 4, cached=1))))
    assert both == Generation(("drama", "comedy", "drama"), Usage(1, 20, 6, cached=1))
    assert joined(()) == Generation((), Usage())
