"""Where data comes from, as settings say it, up to the users that are read."""

import json
from pathlib import Path

import pytest

from hydra_ray.learn.datasets import load_data
from hydra_ray.settings import SettingsError, parse_settings
from hydra_ray.tasks import CHAT_TASK, REVIEW_TASK


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"format": "chat"}, "data.format=chat needs data.path"),
        ({"format": "reviews", "items": "m.jsonl"}, "data.format=reviews needs data.path"),
        ({"format": "reviews", "path": "r.jsonl"}, "data.format=reviews needs data.items"),
        ({"reviews": {"min_user_reviews": 9, "max_user_reviews": 8}}, "min_user_reviews is more than max_user_reviews"),
        (
            {"reviews": {"min_description_chars": 9, "max_description_chars": 8}},
            "min_description_chars is more than max_description_chars",
        ),
        ({"reviews": {"min_reviews": 3}}, "no such setting"),
    ],
)
def test_a_place_or_bound_that_does_not_fit_is_refused(data, told):
    with pytest.raises(SettingsError, match=told):
        parse_settings({"data": data})


def test_conversations_are_loaded_as_the_settings_say(tmp_path):
    path = tmp_path / "chats.jsonl"
    rows = [
        {"user_id": f"u{number % 9}", "messages": [{"role": "user", "content": f"Hi {number}"}], "accepted": "Ho"}
        for number in range(36)
    ]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    settings = parse_settings(
        {"tenant": "acme", "data": {"format": "chat", "path": str(path), "queries_per_user": 2, "dev_share": 0.5}}
    )
    (task, train), (_, dev) = load_data(settings), load_data(settings, "dev")
    assert task == CHAT_TASK
    assert len(train.users) + len(dev.users) == 9
    assert {(user.key.tenant, len(user.history), len(user.queries)) for user in train.users} == {("acme", 2, 2)}


def test_reviews_are_loaded_as_the_settings_say(tmp_path):
    asins = [f"a{number}" for number in range(3)]
    reviews = [
        {"user_id": user, "parent_asin": asin, "title": "Ok", "text": "Good.", "rating": 4, "timestamp": day}
        for user in ("u", "v", "w")
        for day, asin in enumerate(asins)
    ]
    items = [{"parent_asin": asin, "title": asin, "description": "A film."} for asin in asins]
    for name, rows in (("r", reviews), ("m", items)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = {
        "format": "reviews",
        "path": str(tmp_path / "r.jsonl"),
        "items": str(tmp_path / "m.jsonl"),
        "dev_share": 1e-9,
        "queries_per_user": 1,
        "reviews": {"min_review_chars": 1, "min_description_chars": 1, "min_item_users": 3, "min_user_reviews": 3},
    }
    task, dataset = load_data(parse_settings({"data": data}))
    assert task == REVIEW_TASK
    assert [(len(user.history), len(user.queries)) for user in dataset.users] == [(2, 1)] * 3
    own, _ = load_data(parse_settings({"data": {**data, "instruction": "Review this:"}}))
    assert own.instruction == "Review this:"


@pytest.mark.parametrize("place", ["s3://bucket/x y.jsonl?region=eu-west-1", "data/*.jsonl", "file:///data/r", "r.csv"])
def test_places_are_kept_as_they_are_written(place):
    data = parse_settings({"data": {"format": "reviews", "path": place, "items": place, "dir": place}}).data
    assert data.path == data.items == data.dir == place


def test_places_may_be_paths_in_python_but_not_empty():
    assert parse_settings({"data": {"dir": Path("a/b")}}).data.dir == "a/b"
    with pytest.raises(SettingsError, match=r"data\.dir"):
        parse_settings({"data": {"dir": ""}})


@pytest.mark.parametrize("value", ["5%", "many", None, True, [1], {"share": 1}])
def test_what_is_no_number_of_bad_records_is_one_setting_to_mend(value):
    with pytest.raises(SettingsError) as caught:
        parse_settings({"data": {"skip_bad": value}})
    told = "settings: 1 setting(s) to mend:\n  data.skip_bad: Value error, write a count, e.g. 100, or a share below 1"
    assert str(caught.value).startswith(told)
