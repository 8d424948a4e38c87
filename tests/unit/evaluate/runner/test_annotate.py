"""What is known of queries before anybody answers."""

import json
import math
from dataclasses import replace

import pytest

from hydra_ray.evaluate.runner.annotate import Knowledge, judged_history, training_users
from hydra_ray.learn.collect.labeler import CollectedFeedback
from hydra_ray.learn.collect.plan import pseudo_example
from hydra_ray.learn.collect.rows import RerankerRow
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.models.base import Base
from hydra_ray.runtime.loading import load_data
from hydra_ray.settings import parse_settings
from hydra_ray.steps.texts import reranker_texts


def about(identity, place):
    return {"id": identity, "item_id": f"film-{place}", "ts": str(place)}


def question(name, items, tags, item="film-9"):
    profile = [
        {
            "id": f"{name}-{place}",
            "description": f"film {place}",
            "tag": tag,
            "item_id": f"film-{place}",
            "ts": str(place),
        }
        for place, tag in zip(items, tags, strict=True)
    ]
    asked = "Which tag? tags: [comedy, drama] description: a film"
    return {"id": f"{name}-q", "user_id": name, "input": asked, "profile": profile, "item_id": item, "ts": "99"}


def write(folder, split, questions):
    golds = [{"id": one["id"], "output": "drama"} for one in questions]
    (folder / f"{split}_questions.json").write_text(json.dumps(questions))
    (folder / f"{split}_outputs.json").write_text(json.dumps({"task": "LaMP_2M", "golds": golds}))


@pytest.fixture
def settings(tmp_path):
    write(tmp_path, "train", [question("tom", [1, 2], ["drama", "drama"], item="film-3")])
    dev = [
        question("ann", [10, 11, 12, 13], ["comedy", "drama", "drama", "comedy"], item="film-2"),
        question("bob", [14], ["drama"], item="film-3"),
        question("cid", [], [], item="film-7"),
    ]
    write(tmp_path, "dev", dev)
    return parse_settings({"data": {"dir": str(tmp_path), "task": "LaMP_2M", "split": "dev"}})


def known(settings):
    task, dataset = load_data(settings)
    knowledge = Knowledge.of(settings, task, dataset, training_users(settings), None)
    return {query.id: knowledge.about(query) for user in dataset.users for query in user.queries}


def test_an_item_is_seen_where_a_training_user_has_it_in_history_or_query(settings):
    assert {name: one.seen for name, one in known(settings).items()} == {"ann-q": True, "bob-q": True, "cid-q": False}


def test_of_equally_frequent_answers_the_newest_is_the_users_usual_one(settings):
    found = {name: (one.most_frequent, one.history_items) for name, one in known(settings).items()}
    assert found == {"ann-q": ("comedy", 4), "bob-q": ("drama", 1), "cid-q": ("", 0)}


def test_where_history_holds_no_answers_none_is_frequent(settings):
    task, dataset = load_data(settings)
    knowledge = Knowledge.of(settings, task, replace(dataset, pairs=False), (), None)
    assert {knowledge.about(query).most_frequent for user in dataset.users for query in user.queries} == {""}


def test_users_of_another_place_are_evaluated_without_those_who_trained(settings, tmp_path):
    for name in ("train_questions.json", "train_outputs.json"):
        (tmp_path / name).unlink()
    assert training_users(settings) == ()
    assert {one.seen for one in known(settings).values()} == {None}


def test_history_is_judged_as_it_is_ranked_and_held_against_what_helped(settings, scorer, tag_task, tmp_path):
    settings = settings.model_copy(update={"out": tmp_path})
    _, dataset = load_data(settings)
    ann = dataset.users[0]
    example = pseudo_example(ann, 3)
    # In the retriever's order, which is not that of their ids.
    items, helpful = (ann.history[2], ann.history[0]), (False, True)
    rows = [
        RerankerRow(example.key, example.query.input, item.id, item.input, item.output, float(helps), 0.0)
        for item, helps in zip(items, helpful, strict=True)
    ]
    FeedbackStore(settings.feedback_dir).write(0, [(example.key, CollectedFeedback(reranker=rows, adapter=[]))])
    base = Base("v1", tag_task, scorer(seed=1), scorer(seed=2))

    told = []
    judged = judged_history(settings, dataset, base, told.append)

    assert told == [1], "the one query, of one"
    logits = base.reranker.score([reranker_texts(example.query.input, item) for item in items], [None, None]).tolist()
    assert [score for score, _ in judged] == pytest.approx([logits[0], logits[1] - math.log(2)], abs=1e-4)
    assert tuple(helped for _, helped in judged) == helpful
