"""Simulated people: what their world promises, and that it is the same every time."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from defaults import simulate
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.data import simulated
from hydra_ray.data.dataset import Dataset
from hydra_ray.data.simulated import CUES, Preference, labels_in
from hydra_ray.records import UserKey
from hydra_ray.tasks.demo import DEMO_LABELS, DEMO_TASK

SIZES: dict[str, Any] = {"users": 4, "history": 6, "queries": 3}
# Words that carry no mood: a text's moods must be told by its other words.
FUNCTION_WORDS = {"a", "an", "as", "at", "by", "for", "from", "her", "his", "in", "into", "is", "of", "on", "out"}
FUNCTION_WORDS |= {"that", "the", "to", "who", "whose", "with", "and"}

sizes = st.fixed_dictionaries({"users": st.integers(0, 5), "history": st.integers(0, 8), "queries": st.integers(1, 3)})


def words(*texts: str) -> set[str]:
    return set(re.findall(r"[a-z]+", " ".join(texts).lower())) - FUNCTION_WORDS


def texts(data: Dataset) -> list[str]:
    return [part.input for user in data.users for part in (*user.history, *user.queries)]


@settings(max_examples=40, deadline=None)
@given(size=sizes, seed=st.integers(0, 2**40), split=st.sampled_from(["train", "dev"]))
def test_every_answer_is_the_label_the_person_ranks_highest(size, seed, split):
    data, preferences = simulate(**size, seed=seed, split=split, tenant="acme")
    assert len(data.users) == len(preferences) == size["users"]
    for user in data.users:
        assert user.key.tenant == "acme"
        assert (len(user.history), len(user.queries)) == (size["history"], size["queries"])
        rank = {label: place for place, label in enumerate(preferences[user.key].ranking)}
        assert set(rank) == set(DEMO_LABELS)
        answered = [(item.input, item.output) for item in user.history]
        answered += [(query.input, data.golds[query.id]) for query in user.queries]
        for text, answer in answered:
            present = labels_in(text)
            assert len(set(present)) == 3
            assert answer == min(present, key=rank.__getitem__)


@settings(max_examples=20, deadline=None)
@given(size=sizes, seed=st.integers(0, 2**40))
def test_ids_are_unique_and_dates_increase_with_the_history_first(size, seed):
    data, _ = simulate(**size, seed=seed, split="dev")
    ids = [part.id for user in data.users for part in (*user.history, *user.queries)]
    assert len(set(ids)) == len(ids)
    for user in data.users:
        stamps = [part.ts or "" for part in (*user.history, *user.queries)]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", stamp) for stamp in stamps)
        assert stamps == sorted(set(stamps))
        assert all(query.user == user.key for query in user.queries)


def test_the_same_seed_gives_the_same_data():
    assert repr(simulate(**SIZES, seed=3, split="dev")) == repr(simulate(**SIZES, seed=3, split="dev"))


def test_the_data_stays_what_it_was():
    # Pinned: the demo's generator and the demo's published figures belong to exactly this world.
    data, preferences = simulate(**SIZES, seed=0, split="dev")
    user = data.users[0]
    assert user.history[0].input == (
        "A translator remembers a debate in the Victorian parliament, a lollipop on the playground swing and "
        "neighbours uniting to rebuild a school from one summer in a swamp."
    )
    assert user.history[0].output == "historical"
    assert preferences[user.key].ranking[:3] == ("funny", "historical", "violent")


def test_more_people_and_queries_leave_the_first_ones_as_they_are():
    few, _ = simulate(users=2, history=6, queries=1, seed=0, split="dev")
    many, _ = simulate(users=4, history=6, queries=3, seed=0, split="dev")
    assert [user.history for user in many.users[:2]] == [user.history for user in few.users]
    assert [user.queries[0] for user in many.users[:2]] == [user.queries[0] for user in few.users]


def test_other_seeds_and_splits_are_other_people():
    worlds = [
        simulate(users=20, history=6, queries=3, seed=s, split=p) for s, p in ((0, "dev"), (1, "dev"), (0, "train"))
    ]
    keys = [user.key for data, _ in worlds for user in data.users]
    assert len(set(keys)) == len(keys)
    rankings = [preference.ranking for _, preferences in worlds for preference in preferences.values()]
    assert len(set(rankings)) == len(rankings)
    assert len({text for data, _ in worlds for text in texts(data)}) > 0.99 * 3 * 20 * 9


def test_cues_tell_their_label_and_no_other():
    assert tuple(CUES) == DEMO_LABELS
    owners: dict[str, str] = {}
    for label, cues in CUES.items():
        assert len(set(cues)) >= 6
        for cue in cues:
            assert label not in cue.lower()
            for word in words(cue):
                assert owners.setdefault(word, label) == label, f'"{word}" is a cue of two labels'


def test_filler_says_nothing_about_labels():
    settings_, people, frames = simulated._SETTINGS, simulated._PEOPLE, simulated._FRAMES
    assert min(len(set(settings_)), len(set(people))) >= 40
    cue_words = words(*(cue for cues in CUES.values() for cue in cues))
    assert not words(*settings_, *people, *frames) & (cue_words | set(DEMO_LABELS))


def test_labels_are_found_in_the_texts_order_whatever_the_case():
    text = f"{CUES['sad'][0].upper()} and {CUES['funny'][1]}, then {CUES['magical'][2]}."
    assert labels_in(text) == ("sad", "funny", "magical")
    assert labels_in("nothing of the kind") == ()


def test_texts_are_short_varied_and_share_settings_between_people():
    data, _ = simulate(users=20, history=24, queries=1, seed=5, split="dev")
    said = texts(data)
    assert max(len(text.split()) for text in said) <= 45
    for filler in (*simulated._SETTINGS, *simulated._PEOPLE):
        assert any(filler in text.lower() for text in said)
    orders = {labels_in(text) for text in said}
    assert any(tuple(sorted(order)) != order for order in orders)
    assert len({present for order in orders for present in order}) == len(DEMO_LABELS)


def test_a_preference_chooses_among_what_is_present():
    preference = Preference(("sad", "funny", "scary"))
    assert preference.choose(("scary", "funny")) == "funny"
    with pytest.raises(ValueError, match=r"none of \['musical'\] is a label"):
        preference.choose(("musical",))
    with pytest.raises(FrozenInstanceError):
        preference.ranking = ()  # type: ignore[misc]


def test_answers_are_answers_of_the_demos_task():
    data, preferences = simulate(**SIZES, seed=0, split="dev")
    assert all(DEMO_TASK.parse(gold) == gold for gold in data.golds.values())
    assert all(isinstance(key, UserKey) for key in preferences)
