"""Reads reviews and items in the layout of Amazon Reviews'23, filtered as DPL does (arXiv 2503.02450)."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path, PurePosixPath

import numpy as np

from hydra_ray.data.bad_records import BadRecords
from hydra_ray.data.dataset import Dataset
from hydra_ray.data.duplicates import folded
from hydra_ray.data.errors import DataError, shown
from hydra_ray.data.fields import Fields, Layout
from hydra_ray.data.sources.read import read_source
from hydra_ray.data.split import Record, Split
from hydra_ray.dates import is_date

_REVIEW = Layout(
    'Reviews need "user_id", "parent_asin" or "asin", "text", "rating" and "timestamp" (milliseconds).',
    ("user_id", "parent_asin", "asin", "title", "text", "rating", "timestamp"),
    ("user_id", "text", "rating", "timestamp"),
)
_ITEM = Layout(
    'Items need "parent_asin", "title" and "description".',
    ("parent_asin", "title", "description"),
    ("parent_asin", "description"),
)

# A fraction of a millisecond orders nothing.
_MILLISECONDS = re.compile(r"(-?\d+)(?:\.\d*)?", re.ASCII)
# A column of times, as Parquet has them.
_WRITTEN = re.compile(r"\d{4}[-/]", re.ASCII)

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ReviewFilters:
    """Filters of reviews; the defaults are those of DPL's public code.

    Attributes:
        min_review_chars: Shorter reviews are left out.
        min_description_chars: Items with a shorter description are left out.
        max_description_chars: Items with a longer one are left out.
        min_item_users: Items that fewer users reviewed are left out.
        min_user_reviews: Users with fewer reviews are left out.
        max_user_reviews: Users with more are left out.
    """

    min_review_chars: int
    min_description_chars: int
    max_description_chars: int
    min_item_users: int
    min_user_reviews: int
    max_user_reviews: int


def read_reviews(path: Path | str, items: Path | str, split: Split, filters: ReviewFilters, skip_bad: float) -> Dataset:
    """Reads the users of one split; a user's latest reviews become the queries.

    The filters are applied to everybody before people are split, so both splits have the same items. The files
    are read twice, since texts of what is left out would fill memory: first who reviewed what, then the texts. A user's
    review that says the same of the same item again counts once, from the first reading on.

    Args:
        path: Reviews: a file, folder, glob or URI.
        items: The items' metadata, likewise.
        split: Split that says who is in it, and how many of their reviews become queries.
        filters: Filters that say which reviews are used.
        skip_bad: How many bad reviews, and how many bad items, may be left out; below 1, which share of either.

    Raises:
        DataError: Names the file, the line (counted from 1) and the field that cannot be used; or no user is left.
    """
    bad, bad_items = BadRecords(skip_bad), BadRecords(skip_bad)
    asins = {asin for asin, _, _ in _described(items, filters, bad_items)}
    bad_items.settle(str(items))
    pairs: list[Pair] = []
    # Eight bytes a review tell those that were told before.
    digests = array("Q")
    # Users and items have one string each, however many reviews there are.
    names: dict[str, str] = {asin: asin for asin in asins}
    for fields, user, asin in _long_enough(path, filters, bad):
        if asin in asins:
            with bad.aside():
                # All that is asked of a review is asked before anybody counts on it.
                _record(fields, asin, "", "")
                pairs.append((names.setdefault(user, user), names[asin]))
                digests.append(_digest(fields, user, asin))
    bad.settle(str(path))
    pairs = _once(pairs, digests)
    kept_users, kept_items = _fixpoint(pairs, filters)
    if not kept_users:
        raise DataError(
            f"{PurePosixPath(path).name}: no user is left: of {len(pairs)} reviews that are long enough and of a "
            f"described item, none is by somebody with {filters.min_user_reviews} to {filters.max_user_reviews} of "
            f"them, of items with {filters.min_item_users} users. Take more reviews, or set data.reviews."
        )
    # What is bad is known by now.
    known = BadRecords(skip_bad)
    about = {asin: (title, text) for asin, title, text in _described(items, filters, known) if asin in kept_items}
    users: dict[str, list[Record]] = {}
    for fields, user, asin in _long_enough(path, filters, known):
        if user in kept_users and asin in kept_items and split.holds(user):
            with known.aside():
                users.setdefault(user, []).append(_record(fields, asin, *about[asin]))
    bad.left_out.add(bad_items.left_out)
    return split.dataset(users, bad.left_out)


def _described(path: Path | str, filters: ReviewFilters, bad: BadRecords) -> Iterator[tuple[str, str, str]]:
    """Id, title and description of each item whose description is of the wanted length."""
    for fields in read_source(path, "data.items", _ITEM, bad):
        with bad.aside():
            text = _description(fields)
            if filters.min_description_chars <= len(text) <= filters.max_description_chars:
                asin, title = fields.needed_identity("parent_asin"), fields.optional("title") or ""
                yield asin, title.strip(), text


def _digest(fields: Fields, user: str, asin: str) -> int:
    """The same for reviews of which `Repeats` keeps one: a user's same words about an item."""
    parts = (user, asin, folded(fields.text("text")))
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big")


def _once(pairs: list[Pair], digests: array[int]) -> list[Pair]:
    """Return the reviews without repeated ones: nobody is to pass the filters by saying the same again."""
    _, first = np.unique(np.frombuffer(digests, np.uint64), return_index=True)
    return [pairs[place] for place in np.sort(first)]


def _description(fields: Fields) -> str:
    value = fields.value("description")
    if not isinstance(value, list):
        return (fields.optional("description") or "").strip()
    if not all(isinstance(part, str) for part in value):
        raise fields.error('has a "description" that is not a list of texts.')
    return " ".join(part.strip() for part in value).strip()


def _long_enough(path: Path | str, filters: ReviewFilters, bad: BadRecords) -> Iterator[tuple[Fields, str, str]]:
    """Each review that is long enough, its user and its item."""
    for fields in read_source(path, "data.path", _REVIEW, bad):
        with bad.aside():
            if len((fields.optional("text") or "").strip()) >= filters.min_review_chars:
                user, asin = fields.user(bad.left_out), fields.needed_identity("parent_asin", "asin")
                yield fields, user, asin


def _fixpoint(pairs: list[Pair], filters: ReviewFilters) -> tuple[set[str], set[str]]:
    """Users and items that are left when no filter takes away any more: each takes from what the other counts."""
    while True:
        reviewers = Counter(item for _, item in set(pairs))
        kept = [pair for pair in pairs if reviewers[pair[1]] >= filters.min_item_users]
        reviews = Counter(user for user, _ in kept)
        kept = [p for p in kept if filters.min_user_reviews <= reviews[p[0]] <= filters.max_user_reviews]
        if len(kept) == len(pairs):
            return {user for user, _ in kept}, {item for _, item in kept}
        pairs = kept


def _record(fields: Fields, asin: str, item: str, description: str) -> Record:
    title = (fields.optional("title") or "").strip()
    # What the review is to say comes first: in examples a long text is cut at its end.
    parts = {"rating": fields.text("rating"), "review title": title, "item": item, "description": description}
    given = ", ".join(f"{name}: {value}" for name, value in parts.items() if value)
    return Record(given, fields.text("text").strip(), _moment(fields), asin, place=fields.place)


def _moment(fields: Fields) -> str:
    """The time of a review as text that `dates` reads."""
    stamp = fields.text("timestamp").strip()
    number = _MILLISECONDS.fullmatch(stamp)
    moment = _of_milliseconds(int(number[1])) if number else stamp if _WRITTEN.match(stamp) else None
    if moment is None or not is_date(moment):
        raise fields.error(
            f'has "{shown(stamp)}" as "timestamp", which is no number of milliseconds since 1970. '
            "Write it as one, or as a date (2021-03-09T14:30:00Z).",
            'has a "timestamp" that is no number of milliseconds since 1970',
        )
    return moment


def _of_milliseconds(number: int) -> str | None:
    """ISO text, which tells milliseconds from seconds however few they are; None where the calendar ends before."""
    try:
        return datetime.fromtimestamp(number / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return None
