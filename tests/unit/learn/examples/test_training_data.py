from dataclasses import replace

import pytest
from defaults import SETTINGS

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.learn.collect.labeler import CollectedFeedback
from hydra_ray.learn.collect.plan import pseudo_example
from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey, RerankerRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.learn.examples.training_data import FeedbackRows, TrainingData, load_training_data
from hydra_ray.models.base import ADAPTER, RERANKER, ROLES
from hydra_ray.records import HistoryItem, Query, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.steps.adapt import all_compete
from hydra_ray.store.types import FeedbackEvent
from hydra_ray.tasks import TEXT_TASK

ANN, BOB = UserKey("acme", "ann"), UserKey("acme", "bob")
# Neither the order of ids nor that of dates.
FILMS = [("f2", "a robot falls", "comedy"), ("f9", "a king weeps", "drama"), ("f1", "a robot weeps", "sci-fi")]


def make_user(key, films=FILMS):
    history = tuple(HistoryItem(f"{key.user}-{name}", text, answer) for name, text, answer in films)
    return User(key, history, (Query(f"{key.user}-q", key, "a robot in love"),))


def adapt_row(user, query_id, query="a robot weeps", gold="drama"):
    key = ExampleKey(*user.key, query_id, pseudo=True)
    return AdapterRow(key, query, gold, ("comedy",), ("comedy", gold), (3, 1), (0.0, 1.0))


def rerank_rows(user, query_id):
    key = ExampleKey(*user.key, query_id, pseudo=True)
    scores = {"a": 1.0, "b": 0.0}
    return [RerankerRow(key, "a robot weeps", name, name, "drama", score, 0.0) for name, score in scores.items()]


@pytest.fixture
def ann():
    return make_user(ANN)


@pytest.fixture
def data(ann):
    bob = make_user(BOB, [("f1", "a robot weeps", "dark comedy"), ("f2", "two cats", "comedy")])
    return Dataset((ann, bob), {"ann-q": "drama", "bob-q": "comedy"})


@pytest.fixture
def told(data, tag_task):
    """No feedback and no golds: history alone."""
    base, method = SETTINGS.base, SETTINGS.method
    return TrainingData(
        tag_task,
        data,
        rows=FeedbackRows({}, {}),
        events={},
        loss=base.loss,
        seed=SETTINGS.seed,
        own_answers=10,
        with_golds=False,
        zero_call=False,
        retriever=method.retriever,
        ranked_by=method.retriever,
        embed=None,
        history_answers=method.history_answers,
        unsaid=all_compete(tag_task, method.allowed_answers),
        stemmer=method.stemmer,
    )


def queries(groups):
    return [group.key.query_id for group in groups]


def good(group):
    return [judged for (judged, _, _), score in zip(group.decisions, group.scores, strict=True) if score == 1]


def test_every_item_of_history_teaches_the_adapter_oldest_first(told, ann):
    groups = told.groups(ADAPTER, ann)
    assert queries(groups) == ["ann-f2@pseudo", "ann-f9@pseudo", "ann-f1@pseudo"]
    assert [good(group) for group in groups] == [["comedy"], ["drama"], ["sci-fi"]]
    # An item is judged by what was recorded before it.
    assert [sorted(group.decisions[0][2]) for group in groups] == [[], ["comedy"], ["comedy", "drama"]]


def test_no_more_items_teach_than_told(told, ann):
    assert len(replace(told, own_answers=2).groups(ADAPTER, ann)) == 2
    assert replace(told, own_answers=0).groups(ADAPTER, ann) == []


def test_an_item_that_the_llm_was_asked_about_teaches_by_its_answers(told, ann):
    rows = {ANN: [adapt_row(ann, "ann-f9@pseudo", gold="drama")]}
    groups = replace(told, rows=FeedbackRows({}, rows)).groups(ADAPTER, ann)
    assert queries(groups) == ["ann-f2@pseudo", "ann-f9@pseudo", "ann-f1@pseudo"]
    assert [bool(group.priors) for group in groups] == [False, True, False]


def test_real_queries_come_after_history_and_only_where_their_answers_may_be_used(told, ann):
    assert "ann-q" not in queries(told.groups(ADAPTER, ann))
    groups = replace(told, with_golds=True).groups(ADAPTER, ann)
    assert queries(groups) == ["ann-f2@pseudo", "ann-f9@pseudo", "ann-f1@pseudo", "ann-q"]
    assert good(groups[-1]) == ["drama"]


def test_a_real_query_that_is_named_like_an_item_asked_again_stays_a_query_of_its_own(told, ann, data):
    named = replace(ann, queries=(replace(ann.queries[0], id="ann-f9@pseudo"),))
    golds = {"ann-f9@pseudo": "sci-fi"}
    of_both = replace(told, dataset=replace(data, users=(named, data.users[1]), golds=golds), with_golds=True)
    # The LLM was asked about the item only.
    of_both = replace(of_both, rows=FeedbackRows({}, {ANN: [adapt_row(ann, "ann-f9@pseudo")]}))
    groups = of_both.groups(ADAPTER, named)
    assert queries(groups) == ["ann-f2@pseudo", "ann-f9@pseudo", "ann-f1@pseudo", "ann-f9@pseudo"]
    assert [group.key.item_id for group in groups] == ["ann-f2", "ann-f9", "ann-f1", None]
    assert (good(groups[1]), good(groups[3])) == (["drama"], ["sci-fi"])
    rows = [
        replace(row, key=replace(row.key, pseudo=pseudo))
        for pseudo in (True, False)
        for row in rerank_rows(ann, "ann-f9@pseudo")
    ]
    asked = replace(told, rows=FeedbackRows({ANN: rows}, {})).groups(RERANKER, ann)
    assert [(group.key.pseudo, len(group.scores)) for group in asked] == [(True, 2), (False, 2)]


def test_the_reranker_is_taught_by_feedback_oldest_first(told, ann):
    rows = [row for query in ("ann-f1@pseudo", "ann-f2@pseudo") for row in rerank_rows(ann, query)]
    with_rows = replace(told, rows=FeedbackRows({ANN: rows}, {}))
    assert queries(with_rows.groups(RERANKER, ann)) == ["ann-f2@pseudo", "ann-f1@pseudo"]
    assert told.groups(RERANKER, ann) == []


def test_without_calls_nothing_teaches_the_reranker_what_helps_the_llm(told, ann):
    again = replace(ann, history=(*ann.history, HistoryItem("ann-f5", "a king weeps again", "drama")))
    free = replace(told, zero_call=True)
    assert free.groups(RERANKER, again) == []
    assert "ann-f5@pseudo" in queries(free.groups(ADAPTER, again))


def test_free_text_is_taught_by_other_peoples_answers_and_only_without_calls(told, ann):
    free = replace(told, task=TEXT_TASK)
    assert free.groups(ADAPTER, ann) == []
    groups = replace(free, zero_call=True).groups(ADAPTER, ann)
    assert [good(group) for group in groups] == [["comedy"], ["drama"], ["sci-fi"]]
    assert "dark comedy" in [judged for judged, _, _ in groups[0].decisions]


def test_a_user_of_whom_nothing_is_known_teaches_nothing(told):
    nobody = User(UserKey("acme", "carl"), ())
    assert told.groups(ADAPTER, nobody) == told.groups(RERANKER, nobody) == []


def test_the_mark_is_the_same_for_what_is_the_same(told, ann, data):
    again = replace(told, dataset=replace(data, users=tuple(make_user(user.key) for user in reversed(data.users))))
    for role in ROLES:
        assert told.fingerprint(role, ann) == again.fingerprint(role, make_user(ANN))
        assert told.fingerprint(role, ann) != told.fingerprint(role, data.users[1])


@pytest.mark.parametrize(
    "history",
    [
        lambda items: items[:-1],
        lambda items: items[::-1],
        lambda items: (replace(items[0], input="a robot fell"), *items[1:]),
        lambda items: (replace(items[0], output="drama"), *items[1:]),
        lambda items: (replace(items[0], context="robots"), *items[1:]),
        lambda items: (*items, HistoryItem("more", "two cats", "comedy")),
    ],
    ids=["shorter", "turned", "input", "output", "context", "longer"],
)
def test_the_mark_changes_with_history(told, ann, history):
    changed = replace(ann, history=history(ann.history))
    assert all(told.fingerprint(role, changed) != told.fingerprint(role, ann) for role in ROLES)


def test_the_mark_changes_with_the_users_own_feedback_of_its_role(told, ann):
    hers = replace(told, rows=FeedbackRows({}, {ANN: [adapt_row(ann, "ann-f9@pseudo")]}))
    assert hers.fingerprint(ADAPTER, ann) != told.fingerprint(ADAPTER, ann)
    assert hers.fingerprint(RERANKER, ann) == told.fingerprint(RERANKER, ann)
    his = replace(told, rows=FeedbackRows({}, {BOB: [adapt_row(make_user(BOB), "bob-f1@pseudo")]}))
    assert his.fingerprint(ADAPTER, ann) == told.fingerprint(ADAPTER, ann)


def test_the_mark_changes_with_golds_where_they_are_used(told, ann, data):
    other = replace(data, golds={**data.golds, "ann-q": "comedy"})
    using = replace(told, with_golds=True)
    assert using.fingerprint(ADAPTER, ann) != told.fingerprint(ADAPTER, ann)
    assert replace(using, dataset=other).fingerprint(ADAPTER, ann) != using.fingerprint(ADAPTER, ann)
    assert replace(told, dataset=other).fingerprint(ADAPTER, ann) == told.fingerprint(ADAPTER, ann)


def test_the_mark_changes_with_queries_and_what_they_may_see_where_they_are_used(told, ann, data):
    other = replace(ann, queries=(replace(ann.queries[0], input="a king in love"),))
    narrow = replace(told, dataset=replace(data, visible={"ann-q": frozenset({"ann-f9"})}))
    for changed, user in ((told, other), (narrow, ann)):
        assert changed.fingerprint(ADAPTER, user) == told.fingerprint(ADAPTER, ann)
        with_golds = replace(changed, with_golds=True)
        assert with_golds.groups(ADAPTER, user) != replace(told, with_golds=True).groups(ADAPTER, ann)
        assert with_golds.fingerprint(ADAPTER, user) != replace(told, with_golds=True).fingerprint(ADAPTER, ann)


@pytest.mark.parametrize("change", [{"loss": "bce"}, {"seed": 1}, {"own_answers": 9}, {"zero_call": True}])
def test_the_mark_changes_with_what_is_made_of_history(told, ann, change):
    assert replace(told, **change).fingerprint(ADAPTER, ann) != told.fingerprint(ADAPTER, ann)


def test_the_mark_changes_with_the_task(told, ann, tag_task):
    fewer = replace(tag_task, labels=tag_task.labels[1:])
    assert replace(told, task=fewer).fingerprint(ADAPTER, ann) != told.fingerprint(ADAPTER, ann)


@pytest.fixture
def settings(tmp_path, data):
    """Settings of a run with feedback on two items of ann and one of bob."""
    settings = parse_settings({"out": str(tmp_path), "seed": 3, "users": "dev", "feedback": {"own_answers": 5}})
    examples = [pseudo_example(data.users[0], 0), pseudo_example(data.users[0], 1), pseudo_example(data.users[1], 1)]
    owners = {user.key: user for user in data.users}
    told = [
        (example.key, CollectedFeedback(adapter=[adapt_row(owners[example.query.user], example.query.id)], reranker=[]))
        for example in examples
    ]
    FeedbackStore(settings.feedback_dir).write(0, told)
    return settings


def test_all_feedback_of_the_users_is_used_unless_told_which(settings, data, tag_task):
    everything = load_training_data(settings, tag_task, data, None)
    assert {key: len(rows) for key, rows in everything.rows.adapter.items()} == {ANN: 2, BOB: 1}
    of_ann = load_training_data(settings, tag_task, replace(data, users=data.users[:1]), None)
    assert set(of_ann.rows.adapter) == {ANN}
    some = load_training_data(settings, tag_task, data, [pseudo_example(data.users[0], 1)])
    assert [row.key.query_id for row in some.rows.adapter[ANN]] == ["ann-f9@pseudo"]
    assert BOB not in some.rows.adapter
    assert not everything.zero_call
    assert not some.zero_call


def test_no_units_means_no_calls_and_no_feedback(settings, data, tag_task):
    told = load_training_data(settings, tag_task, data, [])
    assert told.zero_call
    assert told.rows == FeedbackRows({}, {})


@pytest.mark.parametrize(("users", "with_golds"), [("dev", False), ("train", True)])
def test_answers_of_real_queries_are_of_training_users_only(settings, data, tag_task, users, with_golds):
    told = load_training_data(settings.model_copy(update={"users": users}), tag_task, data, None)
    assert (told.with_golds, told.loss, told.seed, told.own_answers) == (with_golds, "listwise", 3, 5)


def said(user, item_id, said, text, *candidates, **more):
    return FeedbackEvent(item_id, f"a film about {item_id}", said, text, candidates, **more)


@pytest.fixture
def events(ann):
    """What Ann said: of an item of her history, of one that is none, and that she would not have one."""
    return {
        ANN: [
            said(ann, "ann-f9", "accepted", "drama", "comedy", "drama", history=("ann-f2", "gone")),
            said(ann, "no", "rejected", "comedy", "comedy", "drama", "sci-fi"),
        ]
    }


def test_what_was_said_teaches_beside_history_and_in_the_place_of_its_own_item(told, ann, events):
    groups = replace(told, events=events).groups(ADAPTER, ann)
    assert queries(groups) == ["ann-f2@pseudo", "ann-f9@pseudo", "ann-f1@pseudo", "no@pseudo"]
    offered = [{text: score for (text, _, _), score in zip(g.decisions, g.scores, strict=True)} for g in groups]
    assert offered[1] == {"drama": 1, "comedy": 0}, "what was on offer, not labels that were drawn"
    assert offered[3] == {"comedy": 0, "drama": 1, "sci-fi": 1}
    assert groups[1].decisions[0][2] == ("comedy",), "as the item reads now; of one that is gone nothing is left"
    assert offered[::2] == [
        {text: score for (text, _, _), score in zip(g.decisions, g.scores, strict=True)}
        for g in told.groups(ADAPTER, ann)[::2]
    ]


def test_what_was_said_of_an_item_counts_more_than_what_the_llm_was_asked_about_it(told, ann, events):
    rows = FeedbackRows({}, {ANN: [adapt_row(ann, "ann-f9@pseudo", gold="sci-fi")]})
    groups = replace(told, rows=rows, events=events).groups(ADAPTER, ann)
    assert good(groups[1]) == ["drama"]


def test_free_text_learns_from_what_was_said_too(told, ann, events):
    letters = replace(told, task=TEXT_TASK, events=events, unsaid=False)
    assert queries(letters.groups(ADAPTER, ann)) == ["ann-f9@pseudo", "no@pseudo"]


def test_what_nobody_said_keeps_all_fingerprints(told, data, events):
    for user in data.users:
        with_events = replace(told, events=events)
        for role in ROLES:
            same = with_events.fingerprint(role, user) == told.fingerprint(role, user)
            assert same is ((user.key, role) != (ANN, ADAPTER))


@pytest.mark.parametrize(
    "changes",
    [{"said": "edited"}, {"text": "comedy"}, {"candidates": ("drama",)}, {"votes": (1, 2)}, {"history": ()}],
)
def test_a_fingerprint_changes_with_what_was_said(told, ann, events, changes):
    before = replace(told, events=events).fingerprint(ADAPTER, ann)
    now = {ANN: [replace(events[ANN][0], **changes), events[ANN][1]]}
    assert replace(told, events=now).fingerprint(ADAPTER, ann) != before


def test_a_fingerprint_does_not_change_with_order_and_what_teaches_nothing(told, ann, events):
    before = replace(told, events=events).fingerprint(ADAPTER, ann)
    first, second = events[ANN]
    now = [replace(second, said_at="2026"), replace(first, completion_id="7", propensity=0.5, version="v2")]
    assert replace(told, events={ANN: now}).fingerprint(ADAPTER, ann) == before


@pytest.mark.parametrize("role", ROLES)
def test_an_item_that_is_gone_teaches_no_more_though_it_was_asked_about(told, ann, role):
    rows = FeedbackRows(
        {ANN: rerank_rows(ann, "gone@pseudo") + rerank_rows(ann, "ann-f9@pseudo")},
        {ANN: [adapt_row(ann, "gone@pseudo"), adapt_row(ann, "ann-f9@pseudo")]},
    )
    assert "gone@pseudo" not in queries(replace(told, rows=rows).groups(role, ann))
    assert "ann-f9@pseudo" in queries(replace(told, rows=rows).groups(role, ann))


@pytest.fixture
def rejecting(ann):
    """Ann, who would not have had one answer each in place of two of hers."""
    other = {"ann-f2": "drama", "ann-f1": "comedy"}
    return replace(ann, history=tuple(replace(item, rejected=other.get(item.id)) for item in ann.history))


@pytest.fixture
def free(told, data, rejecting):
    """Free texts, of which the LLM was asked nothing: only rejected answers teach."""
    return replace(told, task=TEXT_TASK, dataset=replace(data, users=(rejecting, data.users[1])))


def judged(group):
    return dict(zip([text for text, _, _ in group.decisions], group.scores, strict=True))


def test_rejected_answers_teach_the_adapter_without_any_feedback(free, rejecting, data):
    groups = free.groups(ADAPTER, rejecting)
    assert queries(groups) == ["ann-f2@pseudo", "ann-f1@pseudo"]
    assert [judged(group) for group in groups] == [{"comedy": 1, "drama": 0}, {"sci-fi": 1, "comedy": 0}]
    # Beside the answers that were given before.
    assert [sorted(group.decisions[0][2]) for group in groups] == [[], ["comedy", "drama"]]
    assert free.groups(RERANKER, rejecting) == []
    assert free.groups(ADAPTER, data.users[1]) == []


def test_a_rejected_answer_takes_the_place_of_what_is_made_up_beside_the_item(told, ann, rejecting):
    rows = {ANN: [adapt_row(ann, "ann-f1@pseudo")]}
    groups = replace(told, rows=FeedbackRows({}, rows)).groups(ADAPTER, rejecting)
    assert queries(groups) == ["ann-f2@pseudo", "ann-f9@pseudo", "ann-f1@pseudo"]
    assert [len(group.scores) for group in groups] == [2, 4, 2]


@pytest.mark.parametrize(("said", "left"), [("accepted", 2), ("neutral", 1)])
def test_what_was_said_while_it_was_served_counts_more_than_a_rejected_answer(free, rejecting, said, left):
    event = FeedbackEvent("ann-f2", "two cats", said, "comedy", ("comedy", "sci-fi"))
    groups = replace(free, events={ANN: [event]}).groups(ADAPTER, rejecting)
    assert len(groups) == left
    assert "drama" not in judged(groups[0])


def test_the_latest_rejected_answers_teach_and_no_more_than_told(free, rejecting):
    assert queries(replace(free, own_answers=1).groups(ADAPTER, rejecting)) == ["ann-f1@pseudo"]
    assert replace(free, own_answers=0).groups(ADAPTER, rejecting) == []


def test_rejected_answers_of_real_queries_teach_only_where_golds_may_be_used(free, rejecting):
    both = replace(free, dataset=replace(free.dataset, rejected={"ann-q": "sci-fi"}))
    assert len(both.groups(ADAPTER, rejecting)) == 2
    last = replace(both, with_golds=True).groups(ADAPTER, rejecting)[-1]
    assert (last.key.query_id, last.key.pseudo, judged(last)) == ("ann-q", False, {"drama": 1, "sci-fi": 0})
    assert both.fingerprint(ADAPTER, rejecting) == free.fingerprint(ADAPTER, rejecting)
    trained = replace(both, with_golds=True).fingerprint(ADAPTER, rejecting)
    assert trained != replace(free, with_golds=True).fingerprint(ADAPTER, rejecting)


def test_the_mark_changes_with_rejected_answers_of_the_adapter_alone(told, ann, rejecting):
    assert told.fingerprint(ADAPTER, rejecting) != told.fingerprint(ADAPTER, ann)
    assert told.fingerprint(RERANKER, rejecting) == told.fingerprint(RERANKER, ann)
