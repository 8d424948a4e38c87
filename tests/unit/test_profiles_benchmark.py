"""`benchmarks/profiles.py`: dpl adds over pag what is known of simulated people, and whatever breaks it shows."""

import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from hydra_ray.evaluate.runner.local_steps import LocalSteps
from hydra_ray.records import ChatRequest, Message, PeerItem
from hydra_ray.steps.profiles import differences
from hydra_ray.steps.profiles.peers import PeerPool

pytest.importorskip("faiss")
BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
USERS, SEED = 40, 3


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Makes the benchmarks' modules importable."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield
    for name in ("profiles", "styles"):
        sys.modules.pop(name, None)


def scores(*methods, **llm):
    """The one task's result, of an LLM that writes JSON only where it is held to it."""
    from profiles import compare
    from styles import RuleLLM

    (task,) = compare(USERS, SEED, RuleLLM(**{"fluent": False, **llm}), methods).tasks
    return task


@cache
def sound():
    """As it should be."""
    return scores("zero-shot", "rag", "pag", "dpl", "truth")


def value(task, method):
    return task.methods[method][task.metrics[0]]


def gain(task, first, second):
    (pair,) = [pair for pair in task.pairs if {pair.first, pair.second} == {first, second}]
    assert pair.first == first, f"{second} is the better one"
    return pair.difference


def test_dpl_is_above_pag_beyond_chance_and_below_the_truth():
    task = sound()
    assert gain(task, "pag", "zero-shot").low > 0
    assert gain(task, "dpl", "rag").low > 0
    assert gain(task, "dpl", "pag").low > 0
    assert gain(task, "truth", "dpl").low > 0
    assert value(task, "truth").value == 1
    counted = task.profiled["dpl"]
    assert (counted.users, counted.apart, counted.read) == (USERS, USERS, Counter(at_once=8 * USERS))


def test_where_the_llm_cannot_be_held_to_a_schema_dpl_is_pag_and_says_so():
    task = scores("pag", "dpl", held=False)
    assert value(task, "dpl") == value(task, "pag") == value(sound(), "pag")
    counted = task.profiled["dpl"]
    assert (counted.users, counted.apart, counted.read) == (USERS, 0, Counter(never=8 * USERS))


def themselves(monkeypatch):
    """Peers who wrote what the user wrote."""

    def comparable(pool, user, item, most, before, floor):
        return [PeerItem(user._replace(user=f"peer {number}"), item) for number in range(4)]

    monkeypatch.setattr(PeerPool, "comparable", comparable)


def wrong_representatives(monkeypatch):
    """Representatives who wrote of something else."""
    kinds = {"concert": "hotel", "hotel": "film", "film": "museum", "museum": "phone", "phone": "novel"}
    from styles import USUAL, Habits, written

    nobody = Habits(frozenset(), frozenset())

    def chosen(own, peers, k, embed, seed):
        kind = next(kind for kind in USUAL if kind in own)
        answer = written(kinds.get(kind, "concert"), 1, nobody)[1]
        return [PeerItem(peer.user, replace(peer.item, output=answer)) for peer in peers[:k]]

    monkeypatch.setattr(differences, "representatives", chosen)


def lost_differences(monkeypatch):
    """Differences that do not reach the summary."""
    monkeypatch.setattr(differences, "_as_text", lambda difference, words: "")


def no_profile(monkeypatch):
    """A profile that is in no prompt."""

    async def nothing(*_):
        return ""

    monkeypatch.setattr("hydra_ray.methods.prompted.profile_message", nothing)


def another_users_profile(monkeypatch):
    """The profile of the next user, of whom it tells the truth."""
    whole = LocalSteps.profile

    async def profile(steps, query, kind):
        users = list(steps._users)
        other = users[(users.index(query.user) + 1) % len(users)]
        return await whole(steps, replace(query, user=other), kind)

    monkeypatch.setattr(LocalSteps, "profile", profile)


@pytest.mark.parametrize(
    "breaking",
    [themselves, wrong_representatives, lost_differences, no_profile, another_users_profile],
    ids=lambda breaking: breaking.__name__,
)
def test_whatever_breaks_dpl_shows_in_its_score(monkeypatch, breaking):
    whole = sound()
    breaking(monkeypatch)
    broken = scores("pag", "dpl")
    assert value(broken, "dpl").high < value(whole, "dpl").low
    lost = value(whole, "dpl").value - value(broken, "dpl").value
    # More than what dpl adds over pag, or nearly: nothing of its worth is left.
    assert lost > 0.7 * gain(whole, "dpl", "pag").value


async def test_the_llm_knows_of_people_what_its_prompt_shows_and_nothing_else():
    from styles import RuleLLM, people

    (one, other), golds = people(2, SEED)[0].users, people(2, SEED)[0].golds
    llm = RuleLLM()
    asked = [ChatRequest((Message("user", user.queries[0].input),)) for user in (one, other)]
    alone = [(await llm(request)).texts for request in asked]
    again = [(await llm(replace(request, users=(one.key,)))).texts for request in asked]
    assert alone == again
    assert alone[0] != (golds[one.queries[0].id],)
