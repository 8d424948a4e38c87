"""A gate is fitted on what bases choose for users whom they have not seen."""

import logging

import pytest
from defaults import texts_encoder

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey
from hydra_ray.learn.examples.training_data import FeedbackRows, TrainingData
from hydra_ray.learn.gate import rows as gate_rows_module
from hydra_ray.learn.gate.job import train_gate
from hydra_ray.learn.gate.rows import JudgedQuery, best_plain, gate_rows, judged_queries
from hydra_ray.models.encodings import KeptEncodings
from hydra_ray.records import Candidate, HistoryItem, Query, UserKey
from hydra_ray.settings import parse_settings
from hydra_ray.steps.adapt import AdaptRequest

USERS, ITEMS = 24, 8


def training_data(task, users=USERS):
    """Everybody gives one answer always; the LLM says another one, greedily and by its votes."""
    made, rows = [], {}
    for number in range(users):
        key, own = UserKey("acme", f"u{number:02}"), ("drama", "comedy")[number % 2]
        history = tuple(HistoryItem(f"{key.user}-{place}", f"film {place} of {number}", own) for place in range(ITEMS))
        made.append(User(key, history, ()))
        rows[key] = [
            AdapterRow(
                ExampleKey.of_item(key, item.id),
                item.input,
                own,
                (own,) * 4,
                ("sci-fi", "dark comedy"),
                (6, 2),
                (0.0, 0.0),
            )
            for item in history
        ]
    return TrainingData(
        task,
        Dataset(tuple(made), {}),
        rows=FeedbackRows({}, rows),
        events={},
        loss="listwise",
        seed=0,
        own_answers=0,
        with_golds=True,
        zero_call=False,
        retriever="recent",
        ranked_by="",
        embed=None,
        history_answers=4,
        unsaid=True,
        stemmer=None,
    )


def settings_with(**gate):
    return parse_settings({"gate": {"folds": 2, **gate}, "base": {"epochs": 2, "head_lr": 0.05}})


@pytest.fixture(scope="module")
def encoder(tiny_encoder):
    made = texts_encoder(tiny_encoder, 64)
    made.train_top_layers(0)
    made.remember(KeptEncodings(1 << 24))
    return made


def test_a_user_is_judged_by_a_base_of_others_under_a_head_without_the_judged_queries(tag_task, encoder, monkeypatch):
    data, trained_on, taught = training_data(tag_task), [], {}
    train, fit_heads = gate_rows_module.train_adapter_here, gate_rows_module.fit_heads_here

    def training(groups, *more):
        trained_on.append({user for user, own in groups.items() if own})
        return train(groups, *more)

    def fitting(groups, *more):
        taught.update({user: {group.key for group in own} for user, own in groups.items()})
        return fit_heads(groups, *more)

    monkeypatch.setattr(gate_rows_module, "train_adapter_here", training)
    monkeypatch.setattr(gate_rows_module, "fit_heads_here", fitting)
    queries = list(judged_queries(data, settings_with(), encoder, 0))
    everybody = {user.key for user in data.dataset.users}
    judged = {user: [one for one in queries if one.ask.query.user == user] for user in everybody}
    assert len(trained_on) == 2
    assert trained_on[0] | trained_on[1] == everybody
    assert not trained_on[0] & trained_on[1]
    for user in everybody:
        ids = [one.ask.query.id for one in judged[user]]
        assert ids == [ExampleKey.of_item(user, f"{user.user}-{place}").query_id for place in (4, 5, 6, 7)]
        assert not {key.query_id for key in taught.get(user, ())} & set(ids)
    # One in four is judged as those are who have no head yet.
    assert sum(judged[user][0].ask.head is None for user in everybody) == USERS / 4


def test_where_past_answers_tell_what_the_llm_does_not_the_choice_passes(tag_task, encoder, caplog):
    data = training_data(tag_task)
    with caplog.at_level(logging.INFO, "hydra_ray"):
        gate = train_gate(data, settings_with(), encoder, 0)
    assert gate.plain == "vote"
    assert not gate.is_closed
    queries = list(judged_queries(data, settings_with(), encoder, 0))
    assert best_plain(tag_task, queries) == "vote"
    rows = gate_rows(tag_task, queries, "vote")
    right = [row for row in rows if row.gain == 1]
    assert len(right) > 0.9 * len(queries)
    assert all(gate.passes(gate.expected(row.features)) for row in right)
    assert "of 96 training queries" in caplog.text


def test_ten_training_users_who_surely_gain_open_the_gate(tag_task, encoder):
    gate = train_gate(training_data(tag_task, users=10), settings_with(), encoder, 0)
    assert gate.users == 10
    assert not gate.is_closed


def test_too_few_training_users_leave_the_gate_closed_and_the_log_says_so(tag_task, encoder, caplog):
    gate = train_gate(training_data(tag_task, users=10), settings_with(least_users=11), encoder, 0)
    assert gate.is_closed
    assert "lets nothing through" in caplog.text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"gate": {"folds": 0}}, "gate.folds is 0"),
        ({"base": {"encoder": {"trained_layers": 2}}}, "has read all training users"),
        ({"gate": {"folds": 50}}, "fewer users than gate.folds"),
    ],
)
def test_where_there_can_be_no_gate_the_log_says_why(tag_task, encoder, caplog, changed, said):
    assert train_gate(training_data(tag_task), parse_settings(changed), encoder, 0) is None
    assert said in caplog.text
    assert "hydra-ungated" in caplog.text


@pytest.mark.parametrize(("right_for", "name"), [(13, "greedy"), (10, "greedy"), (7, "vote"), (2, "vote")])
def test_the_vote_stays_the_plain_answer_where_another_is_better_by_chance(tag_task, right_for, name):
    # Of 13 users the greedy answer is right for so many, and the vote for the others.
    queries = [judged(number, "drama" if number < right_for else "comedy") for number in range(13)]
    assert best_plain(tag_task, queries) == name


def judged(number, gold):
    plain = {"vote": Candidate("comedy", 7, 1), "greedy": Candidate("drama", 1, 0)}
    ask = AdaptRequest(Query(str(number), UserKey("acme", str(number)), "film"), tuple(plain.values()))
    return JudgedQuery(ask, tuple(plain.values()), plain, gold)
