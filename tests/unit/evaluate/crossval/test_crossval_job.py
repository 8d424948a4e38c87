"""Cross-validation of simulated people, whose taste is known: found where there is one, and by nobody's own answers."""

import json

import pyarrow.parquet as pq
import pytest
from simulated_study import Study, moods, study_recipes, study_settings, with_golds

from hydra_ray.records import HydraError
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks.demo import DEMO_LABELS


@pytest.fixture
def study(scripted, monkeypatch):
    return Study(scripted(moods), monkeypatch)


def test_a_second_run_asks_and_encodes_nothing_and_says_the_same(study, tmp_path, tiny_encoder, rows):
    settings = study_settings(tmp_path, tiny_encoder)
    first = study.run(settings, study_recipes(settings))
    asked, read = len(study.generator.requests), len(rows)
    assert first.calls == asked > 0
    assert first.encoded > 0
    # Other recipes over the same prompts, too.
    recipes = study_recipes(settings, {"default": {}, "both": {"candidates": {"nearest": 2, "zero-shot": 2}}})
    second = study.run(settings, recipes)
    assert (len(study.generator.requests), len(rows)) == (asked, read)
    assert (second.calls, second.encoded) == (0, 0)
    assert second.tasks[0].recipes["default"] == first.tasks[0].recipes["default"]
    assert second.tasks[0].recipes["both"].samples == 4


def test_each_query_is_answered_once_a_repeat_by_who_has_not_seen_its_user(study, tmp_path, tiny_encoder):
    settings = study_settings(tmp_path, tiny_encoder, evaluate={"folds": 3, "repeats": 2, "bootstrap": 200})
    found = study.run(settings, study_recipes(settings)).tasks[0]
    table = pq.read_table(tmp_path / found.task / "default.parquet").to_pylist()
    places = [(row["repeat"], row["user"], row["query_id"]) for row in table]
    assert len(places) == len(set(places)) == 2 * found.queries
    assert found.users == len({row["user"] for row in table}) == 24
    for repeat in (0, 1):
        fold_of = {(row["user"], row["fold"]) for row in table if row["repeat"] == repeat}
        assert len(fold_of) == 24
    # Each repeat splits anew.
    folds = [{row["query_id"]: row["fold"] for row in table if row["repeat"] == repeat} for repeat in (0, 1)]
    assert folds[0] != folds[1]
    row = table[0]
    assert row["output"] == row["candidates"][0]["text"]
    assert {one["name"] for one in row["plain"]} == {"zero-shot", "zero-shot-vote", "nearest", "nearest-vote"}
    said = {one["text"]: sum(by["votes"] for by in one["sources"]) for one in row["candidates"]}
    assert said == {one["text"]: one["votes"] for one in row["candidates"]}
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["tasks"][0]["recipes"]["default"]["samples"] == 4


def test_each_recipe_is_answered_with_its_gate_too(study, tmp_path, tiny_encoder):
    settings = study_settings(
        tmp_path,
        tiny_encoder,
        evaluate={"folds": 3, "repeats": 2, "bootstrap": 200},
        gate={"least_users": 5, "caution": 0.6},
    )
    recipes = study_recipes(settings, {"default": {}, "shut": {"set": {"gate.least_users": 1000}}})
    validation = study.run(settings, recipes)
    found = validation.tasks[0]
    table = pq.read_table(tmp_path / found.task / "default.parquet").to_pylist()
    given = [next(one["output"] for one in row["controls"] if one["name"] == "gated") for row in table]
    passes = [row["gate"]["answered"] == "hydra" for row in table]
    assert 0 < sum(passes) < len(passes)
    # What is given is the recipe's own choice, or an answer that the samples agree on or was greedy.
    for row, output, passed in zip(table, given, passes, strict=True):
        assert (
            output == row["output"] if passed else output in {one["text"] for one in row["candidates"] if one["votes"]}
        )
    gated = found.recipes["default"].gated
    assert gated.passes == pytest.approx(sum(passes) / len(passes))
    assert gated.differs >= gated.passes
    assert gated.metrics["accuracy"].value == pytest.approx(
        sum(output == row["gold"] for row, output in zip(table, given, strict=True)) / len(table)
    )
    shut = found.recipes["shut"].gated
    assert (shut.passes, shut.closed) == (0, 1)
    assert shut.over_ungated.gain.value == pytest.approx(
        shut.metrics["accuracy"].value - found.recipes["shut"].metrics["accuracy"].value
    )
    assert set(validation.overall) == {"default", "default/gated", "shut", "shut/gated"}


def test_who_is_held_out_cannot_change_how_they_are_answered(study, tmp_path, tiny_encoder):
    settings = study_settings(tmp_path / "one", tiny_encoder)
    recipes = study_recipes(settings)
    study.run(settings, recipes)
    before = _rows(tmp_path / "one")
    ann = min(user for user, _ in before)
    own = {query: row["gold"] for (user, query), row in before.items() if user == ann}
    # The answers that are furthest from the user's own.
    study.with_data(lambda data: with_golds(data, {query: _other(gold) for query, gold in own.items()}))
    settings = study_settings(tmp_path / "two", tiny_encoder, generator={"cache": str(tmp_path / "one" / "answers")})
    study.run(settings, recipes)
    after = _rows(tmp_path / "two")
    theirs = [place for place in before if place[0] == ann]
    assert theirs
    for place in theirs:
        assert after[place]["candidates_as_scored"] == before[place]["candidates_as_scored"]
        assert after[place]["gold"] != before[place]["gold"]
    # Others learn from them in the folds in which they train.
    same_fold = {place for place in before if before[place]["fold"] == before[theirs[0]]["fold"]}
    assert all(after[place]["candidates_as_scored"] == before[place]["candidates_as_scored"] for place in same_fold)
    assert any(
        after[place]["candidates_as_scored"] != before[place]["candidates_as_scored"]
        for place in before.keys() - same_fold
    )


def test_a_personal_signal_is_found_and_one_that_is_not_there_is_not(study, tmp_path, tiny_encoder):
    settings = study_settings(tmp_path / "one", tiny_encoder, evaluate={"folds": 3, "repeats": 2, "bootstrap": 1000})
    # Own answers alone teach the head: longer fits than real people's noise allows.
    recipes = study_recipes(settings, {"default": {"set": {"fit.steps": 60, "fit.lr": 0.02}}})
    own = _gains(study.run(settings, recipes))
    assert own["other-head"].gain.low > 0
    assert own["best plain"].gain.low > 0

    def nobody_in_particular(dataset):
        """Everybody answers at random among the moods of a text: history tells nothing of anybody."""
        return _at_random(dataset)

    study.with_data(nobody_in_particular)
    settings = study_settings(tmp_path / "two", tiny_encoder, evaluate={"folds": 3, "repeats": 2, "bootstrap": 1000})
    none = _gains(study.run(settings, recipes))
    # Another user's head is no yardstick here: fitted this long, it knows other answers of history than those it meets.
    assert none["shared-head"].gain.low <= 0
    assert none["best plain"].gain.low <= 0


def test_too_few_users_for_the_folds(study, tmp_path, tiny_encoder):
    settings = study_settings(tmp_path, tiny_encoder, evaluate={"folds": 30, "bootstrap": 200})
    with pytest.raises(HydraError, match=r"evaluate\.folds: 30 folds of 24 users"):
        study.run(settings, study_recipes(settings))


def _rows(out):
    table = pq.read_table(out / "demo" / "default.parquet").to_pylist()
    for row in table:
        row["candidates_as_scored"] = [(one["text"], one["votes"], one["logit"]) for one in row["candidates"]]
    return {(row["user"], row["query_id"]): row for row in table}


def _other(label):
    return DEMO_LABELS[(DEMO_LABELS.index(label) + 5) % len(DEMO_LABELS)]


def _gains(validation):
    return {one.to: one for one in validation.tasks[0].recipes["default"].differences}


def _at_random(dataset):
    from dataclasses import replace

    from hydra_ray.data.simulated import labels_in

    def drawn(place, text):
        found = labels_in(text)
        return found[stable_seed(place) % len(found)]

    users = tuple(
        replace(user, history=tuple(replace(item, output=drawn(item.id, item.input)) for item in user.history))
        for user in dataset.users
    )
    golds = {query.id: drawn(query.id, query.input) for user in users for query in user.queries}
    return replace(dataset, users=users, golds=golds)
