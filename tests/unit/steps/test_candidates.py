"""How the LLM is asked for candidates."""

import pytest

from hydra_ray.records import LEFT_TO_THE_LLM, Generation, Message, Usage, UserKey
from hydra_ray.steps.candidates import Sample, candidate_calls, candidate_requests, joined, mixed_requests
from hydra_ray.steps.sources import PromptShare

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


CHATS = {name: (Message("user", f"{name}: which tag?"),) for name in ("zero-shot", "recent", "bm25")}
MIX = (PromptShare("zero-shot", 1, greedy=True), PromptShare("recent", 4, greedy=True), PromptShare("bm25", 3, False))


def mixed(chats=CHATS, mix=MIX):
    return mixed_requests(chats, mix, 0.9, 16, 7, (ANN,), LEFT_TO_THE_LLM)


def test_every_prompt_of_a_mix_brings_its_own_answers():
    assert [(one.prompt, one.request.n, one.request.temperature) for one in mixed()] == [
        ("zero-shot", 1, 0.0),
        ("recent", 1, 0.0),
        ("recent", 3, 0.9),
        ("bm25", 3, 0.9),
    ]
    assert all(one.request.messages == CHATS[one.prompt] for one in mixed())
    assert sum(one.request.n for one in mixed()) == 8
    assert candidate_calls(MIX, lambda samples: 1) == 4
    assert candidate_calls(MIX, lambda samples: samples) == 8, "of an endpoint that gives one sample a request"


def test_one_prompt_is_asked_as_ever_and_greedy_answers_as_methods_that_only_prompt_ask():
    (share,) = alone = (PromptShare("recent", 8, greedy=True),)
    as_ever = candidate_requests(CHATS["recent"], 8, 0.9, True, 16, 7, (ANN,), LEFT_TO_THE_LLM)
    assert tuple(one.request for one in mixed(mix=alone)) == as_ever
    assert mixed()[1].request == as_ever[0]
    assert share.samples == 8


def test_prompts_that_are_one_chat_are_not_sampled_alike():
    chat = dict.fromkeys(CHATS, CHAT)
    sampled = [one.request for one in mixed(chat, tuple(PromptShare(name, 2, greedy=True) for name in CHATS))]
    assert len({request.seed for request in sampled if request.temperature}) == 3
    assert len({request for request in sampled if not request.temperature}) == 1


def test_a_sample_says_which_prompt_gave_it_and_how():
    greedy, sampled = mixed()[1], mixed()[2]
    assert greedy.samples(Generation(("drama",), Usage())) == [Sample("drama", True, "recent")]
    ends = Generation(("a", "b"), Usage(), ("stop", "length"))
    assert sampled.samples(ends) == [Sample("a", False, "recent"), Sample("b", False, "recent", "length")]
