"""Reviews in the layout of Amazon Reviews'23: what is left of them, what is asked, and what cannot be read."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from defaults import read_reviews, review_filters, split_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.data.dataset import Dataset
from hydra_ray.data.errors import DataError
from hydra_ray.data.reviews import ReviewFilters
from hydra_ray.data.split import Split

# Everybody is in split train, and everything is long enough.
EVERYBODY = split_of("train", queries_per_user=1, dev_share=1e-9, seed=0)
ALL = ReviewFilters(1, 1, 1000, 1, 1, 1000)
DAY = 86_400_000


def review(user: str, asin: str, day: int, **more: Any) -> dict[str, Any]:
    return {
        "user_id": user,
        "parent_asin": asin,
        "asin": f"{asin}-blue",
        "title": f"Day {day}",
        "text": f"I saw {asin}.",
        "rating": 4.0,
        "timestamp": day * DAY,
        "helpful_vote": 0,
        **more,
    }


def item(asin: str, **more: Any) -> dict[str, Any]:
    return {"parent_asin": asin, "title": f"Film {asin}", "description": [f"About {asin}."], "price": None, **more}


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("\n".join(json.dumps(values) for values in records), encoding="utf-8")
    return path


def read(
    folder: Path, reviews: list[Any], items: list[Any], filters: ReviewFilters = ALL, split: Split = EVERYBODY
) -> Dataset:
    return read_reviews(jsonl(folder / "r.jsonl", reviews), jsonl(folder / "meta.jsonl", items), split, filters)


def test_rating_title_and_item_are_given_and_the_text_is_the_answer(tmp_path):
    data = read(tmp_path, [review("u", "b", 2), review("u", "a", 1, text=" Fine. ")], [item("a"), item("b")])
    (user,) = data.users
    (past,), (query,) = user.history, user.queries
    assert past.input == "rating: 4, review title: Day 1, item: Film a, description: About a."
    assert (past.output, past.item_id, past.ts) == ("Fine.", "a", "1970-01-02T00:00:00.000+00:00")
    assert query.input == "rating: 4, review title: Day 2, item: Film b, description: About b."
    assert (query.item_id, query.ts) == ("b", "1970-01-03T00:00:00.000+00:00")
    assert data.golds == {query.id: "I saw b."}


def test_what_is_not_known_of_item_or_review_is_left_out(tmp_path):
    data = read(tmp_path, [review("u", "a", 1, title="", rating=3.5)], [item("a", title=None, description="Old.")])
    assert data.users[0].history[0].input == "rating: 3.5, description: Old."


def test_descriptions_may_be_text_or_parts(tmp_path):
    items = [item("a", description=["One.", " Two."]), item("b", description="One."), item("c", description=[])]
    data = read(tmp_path, [review("u", asin, 1) for asin in "abc"], items)
    told = [part.input.partition("description: ")[2] for user in data.users for part in (*user.history, *user.queries)]
    assert told == ["One. Two.", "One."]


def test_the_id_of_the_variant_serves_where_there_is_no_other(tmp_path):
    reviews = [{**review("u", "a", 1), "parent_asin": None, "asin": "a"}]
    assert read(tmp_path, reviews, [item("a")]).users[0].history[0].item_id == "a"


def test_a_moment_earlier_is_earlier_and_the_same_moment_is_not(tmp_path):
    reviews = [review("u", "a", 1), review("u", "b", 1, timestamp=DAY - 1), review("u", "c", 1)]
    data = read(tmp_path, reviews, [item(asin) for asin in "abc"])
    (user,) = data.users
    assert [part.item_id for part in user.history] == ["b", "a"]
    assert [part.item_id for part in data.history(user, user.queries[0])] == ["b"]


def test_short_reviews_and_descriptions_and_long_descriptions_are_left_out(tmp_path):
    filters = ReviewFilters(5, 3, 4, 1, 1, 100)
    items = [item(str(length), description="d" * length) for length in (2, 3, 4, 5)]
    reviews = [review("u", str(length), length, text="four!") for length in (2, 3, 4, 5)]
    reviews.append(review("u", "3", 9, text="four"))
    (user,) = read(tmp_path, reviews, items, filters).users
    assert [part.item_id for part in (*user.history, *user.queries)] == ["3", "4"]


def test_filters_are_applied_until_nothing_more_falls(tmp_path):
    # Without c, which one person alone reviewed, v has one review; without v, b has one reviewer; then u has one.
    reviews = [review("u", "a", 1), review("u", "b", 2), review("v", "b", 1), review("v", "c", 2)]
    reviews += [review(user, asin, 3) for user in ("w", "x") for asin in ("a", "d")]
    data = read(tmp_path, reviews, [item(asin) for asin in "abcd"], ReviewFilters(1, 1, 1000, 2, 2, 1000))
    assert [user.key.user for user in data.users] == ["w", "x"]


def test_people_with_too_many_reviews_are_left_out(tmp_path):
    reviews = [review("u", asin, 1) for asin in "abc"] + [review("v", asin, 1) for asin in "ab"]
    data = read(tmp_path, reviews, [item(asin) for asin in "abc"], ReviewFilters(1, 1, 1000, 1, 1, 2))
    assert [user.key.user for user in data.users] == ["v"]


def test_one_persons_many_reviews_of_an_item_are_one_reviewer(tmp_path):
    reviews = [review("u", "a", day) for day in range(3)] + [review(user, "b", 1) for user in "uvw"]
    data = read(tmp_path, reviews, [item("a"), item("b")], ReviewFilters(1, 1, 1000, 3, 1, 1000))
    assert {part.item_id for user in data.users for part in user.history} == {"b"}


def test_both_splits_are_filtered_together(tmp_path):
    people = [f"person {number}" for number in range(40)]
    reviews = [review(user, "a", day, text=f"Day {day}.") for user in people for day in (1, 2)]
    filters = review_filters(min_review_chars=1, min_description_chars=1, min_item_users=40, min_user_reviews=2)
    halves = [split_of(name, queries_per_user=1, dev_share=0.5) for name in ("train", "dev")]
    train, dev = (
        {user.key.user for user in read(tmp_path, reviews, [item("a")], filters, half).users} for half in halves
    )
    assert sorted(train | dev) == sorted(people)
    assert not train & dev
    assert min(len(train), len(dev)) > 5


def test_the_defaults_are_those_of_dpl():
    assert review_filters() == ReviewFilters(200, 100, 2000, 8, 18, 500)


def test_when_nobody_is_left_the_settings_are_named(tmp_path):
    with pytest.raises(DataError) as caught:
        read(tmp_path, [review("u", "a", 1)], [item("a")], review_filters(min_review_chars=1, min_description_chars=1))
    assert str(caught.value) == (
        "r.jsonl: no user is left: of 1 reviews that are long enough and of a described item, none is by somebody with "
        "18 to 500 of them, of items with 8 users. Take more reviews, or set data.reviews."
    )


def test_gzipped_files_are_read_as_they_are_published(tmp_path):
    for name, records in (("r", [review("u", "a", 1)]), ("meta", [item("a")])):
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, records)).encode()))
    data = read_reviews(tmp_path / "r.jsonl.gz", tmp_path / "meta.jsonl.gz", EVERYBODY, ALL)
    assert len(data.users) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user_id": None}, 'r.jsonl, line 2 has no "user_id". Reviews need "user_id", "parent_asin" or "asin"'),
        ({"parent_asin": None, "asin": None}, 'line 2 has no "parent_asin". Reviews need'),
        ({"rating": None}, 'line 2 has no "rating".'),
        ({"text": ["x"]}, 'line 2 has a list as "text". Write it as text.'),
        ({"timestamp": None}, 'line 2 has no "timestamp".'),
        ({"timestamp": "May"}, 'line 2 has "May" as "timestamp", which is no number of milliseconds since 1970.'),
        ({"timestamp": 10**30}, "which is no number of milliseconds since 1970."),
    ],
)
def test_a_bad_review_is_named_with_line_and_field(tmp_path, changes, message):
    with pytest.raises(DataError) as caught:
        read(tmp_path, [review("u", "a", 1), review("u", "a", 2) | changes], [item("a")])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parent_asin": None}, 'meta.jsonl, line 1 has no "parent_asin". Items need "parent_asin", "title"'),
        ({"description": [1]}, 'meta.jsonl, line 1 has a "description" that is not a list of texts.'),
        ({"description": {}}, 'line 1 has an object as "description". Write it as text.'),
    ],
)
def test_a_bad_item_is_named_with_line_and_field(tmp_path, changes, message):
    with pytest.raises(DataError) as caught:
        read(tmp_path, [review("u", "a", 1)], [item("a") | changes])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("stamp", "ts"),
    [
        (1588687728923.5, "2020-05-05T14:08:48.923+00:00"),
        ("1588687728923.0", "2020-05-05T14:08:48.923+00:00"),
        ("2021-03-09T14:30:00+01:00", "2021-03-09T14:30:00+01:00"),
        ("2021/3/9", "2021/3/9"),
    ],
)
def test_times_are_milliseconds_or_written_dates(tmp_path, stamp, ts):
    data = read(tmp_path, [review("u", "a", 1, timestamp=stamp), review("u", "b", 365 * 60)], [item("a"), item("b")])
    assert data.users[0].history[0].ts == ts


@pytest.mark.parametrize("stamp", ["1.5e12", "2021-02-30", "1.588687728923E12", "-", "9" * 40])
def test_a_time_that_is_neither_is_named(tmp_path, stamp):
    with pytest.raises(
        DataError, match=r"which is no number of milliseconds since 1970\. Write it as one, or as a date"
    ):
        read(tmp_path, [review("u", "a", 1, timestamp=stamp)], [item("a")])


def test_a_review_without_text_is_short(tmp_path):
    data = read(tmp_path, [review("u", "a", 1), review("u", "a", 2, text=None)], [item("a")])
    assert len(data.users[0].history) + len(data.users[0].queries) == 1


@settings(max_examples=60)
@given(
    pairs=st.lists(st.tuples(st.sampled_from("uvwx"), st.sampled_from("abcd")), max_size=30),
    bounds=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(3, 6)),
)
def test_who_and_what_is_left_keeps_all_bounds(tmp_path_factory, pairs, bounds):
    min_users, least, most = bounds
    reviews = [review(user, asin, day) for day, (user, asin) in enumerate(pairs)]
    filters = ReviewFilters(1, 1, 1000, min_users, least, most)
    try:
        data = read(tmp_path_factory.mktemp("any"), reviews, [item(asin) for asin in "abcd"], filters)
    except DataError:
        # Nobody is left. Had everybody passed from the start, somebody would be.
        users, items = Counter(user for user, _ in pairs), Counter(asin for _, asin in set(pairs))
        assert not pairs or min(items.values()) < min_users or not all(least <= n <= most for n in users.values())
        return
    kept = [(user.key.user, part.item_id) for user in data.users for part in (*user.history, *user.queries)]
    assert not Counter(kept) - Counter(pairs)
    assert all(least <= count <= most for count in Counter(user for user, _ in kept).values())
    assert all(count >= min_users for count in Counter(asin for _, asin in set(kept)).values())
