"""Feedback and forgetting move heads of kind bases, at once and exactly; other heads stay."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from hydra_ray.learn.examples.features import encode_all
from hydra_ray.learn.examples.feedback_events import event_group
from hydra_ray.learn.heads.fitter import FitChoice, HeadFitter
from hydra_ray.learn.heads.online import Forgotten, Learnt, OnlineLearner
from hydra_ray.models.heads import Head
from hydra_ray.records import HistoryItem, UserKey
from hydra_ray.settings import Settings
from hydra_ray.store.types import FeedbackEvent, ProfileFingerprint, UserProfile
from hydra_ray.tasks import TEXT_TASK

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
LABELS = ("comedy", "dark comedy", "sci-fi", "drama")
BASES = Settings.model_validate({"method": {"rerank": True}, "fit": {"head": {"kind": "bases"}, "pull": 0.02}})
LOWRANK = Head("lowrank", {"out": torch.ones(2), "project": torch.zeros(2, 96)})
SHARED = {"adapter": "unchanged", "reranker": "unchanged"}


@pytest.fixture
def judging(scorer):
    return scorer()


@pytest.fixture
def learner(store, judging, tag_task):
    return OnlineLearner(store, "v1", tag_task, judging, BASES)


def accepted(number, label="drama", **more):
    return FeedbackEvent(f"item-{number}", f"a film about {number} heists", "accepted", label, LABELS, **more)


def head(store, user=ANN, role="adapter", version="v1"):
    return store.head(user, version, role)


def logits(judging, head, film="a film about two heists"):
    return judging.score([(label, film, "") for label in LABELS], [head] * len(LABELS))


def fit(judging, task, user, verdicts):
    """The head that a fit of nothing but these verdicts gives."""
    groups = [event_group(user, event, (), task, BASES.seed) for event in verdicts]
    features = encode_all(judging, [groups])[0]
    (fitted,) = HeadFitter(judging.heads, lambda _: FitChoice(BASES.fit), BASES.base.loss)([(user, features)])
    return fitted


def same(one, other):
    assert (one.kind, one.about) == (other.kind, other.about)
    assert_close(one.tensors, other.tensors, rtol=1e-4, atol=1e-5)


def test_the_first_feedback_makes_a_head_that_prefers_what_was_accepted(learner, store, judging):
    assert learner.learn(ANN, accepted(1), ()) == Learnt("created", True)
    gained = logits(judging, head(store)) - logits(judging, None)
    assert gained.argmax() == LABELS.index("drama")
    assert store.history(ANN) == (HistoryItem("item-1", "a film about 1 heists", "drama"),)


def test_the_head_is_what_fitting_all_verdicts_gives(learner, store, judging, tag_task):
    verdicts = [accepted(1), accepted(2, "comedy"), accepted(3)]
    assert [learner.learn(ANN, event, ()).head for event in verdicts] == ["created", "updated", "updated"]
    fitted = fit(judging, tag_task, ANN, verdicts)
    same(head(store), fitted.head)
    with store.updating_observations(ANN, "v1", "adapter") as update:
        assert update.all() == list(fitted.observations.values())


def test_forgetting_an_item_is_never_having_been_told(learner, store, judging, tag_task):
    learner.learn(ANN, accepted(1), ())
    before = head(store)
    learner.learn(ANN, accepted(2, "comedy"), ())
    assert learner.forget(ANN, "item-2") == Forgotten(True, {**SHARED, "adapter": "updated"})
    assert_close(head(store).tensors, before.tensors, rtol=0, atol=0)
    assert [item.id for item in store.history(ANN)] == ["item-1"]


def test_a_head_without_evidence_goes(learner, store):
    learner.learn(ANN, accepted(1), ())
    assert learner.forget(ANN, "item-1").heads["adapter"] == "removed"
    assert head(store) is None
    assert learner.forget(ANN, "item-1") == Forgotten(False, SHARED)


def test_a_fitted_head_goes_on_with_its_own_numbers(learner, store, judging, tag_task):
    fitted = fit(judging, tag_task, ANN, [accepted(1)])
    tuned = Head("bases", fitted.head.tensors, {"pull": 1.0, "temperature": 0.3, "prior_weight": 0.25})
    store.put_observations("v1", "adapter", {ANN: fitted.observations})
    store.put_heads("v1", "adapter", {ANN: tuned}, {ANN: "as it was fitted"})
    assert learner.learn(ANN, accepted(2), ()).head == "updated"
    assert head(store).about == tuned.about
    assert store.head_fingerprints("v1", "adapter") == {ANN: ""}, "the next fit takes it up again"


def test_forgetting_reaches_every_role_and_version_that_was_told(learner, store, judging, tag_task):
    fitted = fit(judging, tag_task, ANN, [accepted(1), accepted(2)])
    for version, role in (("v1", "reranker"), ("v0", "adapter")):
        store.put_observations(version, role, {ANN: fitted.observations, BOB: fitted.observations})
        store.put_heads(version, role, {ANN: fitted.head, BOB: fitted.head})
    assert learner.forget(ANN, "item-2") == Forgotten(True, {"reranker": "updated", "adapter": "unchanged"})
    alone = fit(judging, tag_task, ANN, [accepted(1)])
    same(head(store, role="reranker"), alone.head)
    same(head(store, version="v0"), alone.head)
    same(head(store, BOB, "reranker"), fitted.head)
    assert store.observed_by(ANN, "item-2") == []


def test_a_verdict_of_the_same_id_takes_the_place_of_the_former(learner, store, judging, tag_task):
    learner.learn(ANN, accepted(1, "comedy"), ())
    learner.learn(ANN, accepted(1, "drama"), ())
    same(head(store), fit(judging, tag_task, ANN, [accepted(1, "drama")]).head)
    assert [item.output for item in store.history(ANN)] == ["drama"]


def test_a_rejection_teaches_and_leaves_no_history(learner, store, judging):
    rejected = FeedbackEvent("item-1", "a film about two heists", "rejected", "drama", LABELS)
    assert learner.learn(ANN, rejected, ()) == Learnt("created", True)
    assert store.history(ANN) == ()
    gained = logits(judging, head(store)) - logits(judging, None)
    assert gained.argmin() == LABELS.index("drama")
    assert learner.forget(ANN, "item-1") == Forgotten(True, {**SHARED, "adapter": "removed"})


def test_what_was_accepted_before_it_was_rejected_is_no_history_any_more(learner, store):
    learner.learn(ANN, accepted(1), ())
    learner.learn(ANN, FeedbackEvent("item-1", "a film", "rejected", "drama", LABELS), ())
    assert store.history(ANN) == ()


@pytest.mark.parametrize("said", ["accepted", "rejected"])
def test_heads_of_other_kinds_wait_for_the_next_fit(learner, store, said):
    store.put_heads("v1", "adapter", {ANN: LOWRANK})
    learnt = learner.learn(ANN, FeedbackEvent("item-1", "a film", said, "drama", LABELS), ())
    assert (learnt.head, learnt.learnt) == ("at_next_fit", False)
    assert "lowrank" in learnt.note
    assert len(store.history(ANN)) == (said == "accepted")
    assert_close(head(store).tensors, LOWRANK.tensors)
    assert store.observed_by(ANN, "item-1") == []
    if said == "accepted":
        assert learner.forget(ANN, "item-1") == Forgotten(True, {**SHARED, "adapter": "at_next_fit"})


@pytest.mark.parametrize("kind", ["bases", "lowrank"])
@pytest.mark.parametrize("said", ["accepted", "edited", "rejected"])
def test_what_was_said_is_kept_as_it_was_said_whatever_kind_the_head_is(learner, store, kind, said):
    if kind == "lowrank":
        store.put_heads("v1", "adapter", {ANN: LOWRANK})
    event = FeedbackEvent("1", "a film", said, "drama", ("drama", "sci-fi"), "2026", (3, 1), "chat-7", "hydra", 0.5)
    learner.learn(ANN, event, (HistoryItem("before", "a heist", "comedy"),))
    (found,) = store.feedback_events([ANN])[ANN]
    assert found.said_at
    assert replace(found, said_at="") == replace(event, history=("before",), version="v1")
    assert learner.forget(ANN, "1").found
    assert store.feedback_events([ANN]) == {}


def test_the_votes_are_what_the_head_corrects(learner, store, judging):
    learner.learn(ANN, accepted(1, votes=(1, 1, 1, 1)), ())
    learner.learn(BOB, accepted(1, votes=(0, 0, 0, 7)), ())
    gained = [(logits(judging, head(store, user)) - logits(judging, None))[3] for user in (ANN, BOB)]
    assert gained[0] > gained[1] > 0, "that the LLM says it most often is known without a head"


@pytest.mark.parametrize(
    ("changes", "said", "head"),
    [
        ({}, "accepted", "unchanged"),
        ({"fit": {"mode": "zero-call"}}, "accepted", "at_next_fit"),
        ({"data": {"format": "store"}}, "accepted", "at_next_fit"),
        ({"data": {"format": "store"}}, "rejected", "unchanged"),
    ],
)
def test_what_has_nothing_beside_it_teaches_where_history_alone_does(store, judging, changes, said, head):
    settings = Settings.model_validate({"data": {"format": "records", "path": "none.jsonl"}, **changes})
    learner = OnlineLearner(store, "v1", TEXT_TASK, judging, settings)
    learnt = learner.learn(ANN, FeedbackEvent("1", "a letter", said, "Dear Bob"), ())
    assert (learnt.head, learnt.learnt) == (head, False)
    assert ("fit.min_groups" in learnt.note) is (head == "at_next_fit")


def test_newcomers_get_a_head_only_where_settings_say_bases(store, judging, tag_task):
    learnt = OnlineLearner(store, "v1", tag_task, judging, Settings()).learn(ANN, accepted(1), ())
    assert (learnt.head, learnt.learnt) == ("at_next_fit", False)
    assert head(store) is None
    assert len(store.history(ANN)) == 1


def test_free_text_without_candidates_is_history_only(store, judging):
    learner = OnlineLearner(store, "v1", TEXT_TASK, judging, BASES)
    learnt = learner.learn(ANN, FeedbackEvent("item-1", "a letter", "accepted", "Dear Bob"), ())
    assert (learnt.head, learnt.learnt) == ("unchanged", False)
    assert "candidates" in learnt.note
    assert head(store) is None
    assert len(store.history(ANN)) == 1


def test_a_verdict_that_tells_nothing_takes_back_what_its_id_told_before(store, judging):
    learner = OnlineLearner(store, "v1", TEXT_TASK, judging, BASES)
    learner.learn(ANN, FeedbackEvent("item-1", "a letter", "accepted", "Dear Bob", ("Hi",)), ())
    assert head(store) is not None
    assert learner.learn(ANN, FeedbackEvent("item-1", "a letter", "accepted", "Dear Bob"), ()).head == "removed"
    assert head(store) is None


def test_what_fails_leaves_nothing_behind(learner, store, monkeypatch):
    learner.learn(ANN, accepted(1), ())
    before = head(store)
    monkeypatch.setattr("hydra_ray.learn.heads.online.head_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learner.learn(ANN, accepted(2), ())
    assert [item.id for item in store.history(ANN)] == ["item-1"]
    assert store.observed_by(ANN, "item-2") == []
    assert [event.item_id for event in store.feedback_events([ANN])[ANN]] == ["item-1"]
    assert_close(head(store).tensors, before.tensors, rtol=0, atol=0)


def test_feedback_of_many_at_the_same_time_does_not_mix_and_none_is_lost(learner, store, judging, tag_task):
    told = {ANN: [accepted(n, "drama") for n in range(12)], BOB: [accepted(n, "comedy") for n in range(12)]}
    with ThreadPoolExecutor(8) as threads:
        jobs = [threads.submit(learner.learn, user, told[user][n], ()) for n in range(12) for user in told]
        assert all(job.result().learnt for job in jobs)
    for user, verdicts in told.items():
        in_order = sorted(verdicts, key=lambda event: event.item_id)
        same(head(store, user), fit(judging, tag_task, user, in_order).head)
        assert len(store.history(user)) == 12


@pytest.mark.parametrize("kind", ["bases", "lowrank"])
def test_a_rejection_takes_back_what_peers_profiles_tell_of_the_item(learner, store, kind):
    if kind == "lowrank":
        store.put_heads("v1", "adapter", {ANN: LOWRANK})
    for number in (1, 2):
        learner.learn(ANN, accepted(number), ())
    learner.learn(BOB, accepted(3), ())
    with_hers = UserProfile("dpl", "Ann liked a film about 1 heists.", ProfileFingerprint("how", "what", 1), (ANN,))
    store.put_profiles([(BOB, with_hers)])
    learner.learn(ANN, FeedbackEvent("item-9", "a film about 9 heists", "rejected", "drama", LABELS), ())
    assert store.profile(BOB, "dpl") == with_hers, "nothing was told of an item that was not there"
    learner.learn(ANN, FeedbackEvent("item-1", "a film about 1 heists", "rejected", "drama", LABELS), ())
    assert store.profile(BOB, "dpl") is None
    assert [item.id for item in store.history(ANN)] == ["item-2"]


def test_feedback_that_came_in_before_its_user_was_deleted_does_not_make_them_anew(learner, store):
    learner.learn(ANN, accepted(1), ())
    came_in = store.deletions(ANN)
    store.delete(ANN)
    learnt = learner.learn(ANN, accepted(2), (), came_in)
    assert (learnt.kept, learnt.learnt, learnt.head) == (False, False, "unchanged")
    assert "deleted meanwhile" in learnt.note
    assert (store.history(ANN), head(store)) == ((), None)
    # What the user says now is another matter.
    assert learner.learn(ANN, accepted(3), ()) == Learnt("created", True)
