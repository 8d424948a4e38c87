"""Reads reviews and items in the layout of Amazon Reviews'23, filtered as DPL does (arXiv 2503.02450)."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import numpy as np

from hydra_ray.data.duplicates import folded
from hydra_ray.data.errors import DataError, Fields
from hydra_ray.data.jsonl import read_jsonl
from hydra_ray.data.split import Record, Split
from hydra_ray.records import Dataset

_REVIEW = 'Reviews need "user_id", "parent_asin" or "asin", "text", "rating" and "timestamp" (milliseconds).'
_ITEM = 'Items need "parent_asin", "title" and "description".'

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ReviewFilters:
    """Which reviews are used; the defaults are those of DPL's public code.

    Attributes:
        min_review_chars: Shorter reviews are left out.
        min_description_chars: Items with a shorter description are left out.
        max_description_chars: Items with a longer one are left out.
        min_item_users: Items that fewer users reviewed are left out.
        min_user_reviews: Users with fewer reviews are left out.
        max_user_reviews: Users with more are left out.
    """

    min_review_chars: int = 200
    min_description_chars: int = 100
    max_description_chars: int = 2000
    min_item_users: int = 8
    min_user_reviews: int = 18
    max_user_reviews: int = 500


def read_reviews(path: Path, items: Path, split: Split, filters: ReviewFilters) -> Dataset:
    """Reads the users of one split; a user's latest reviews become the queries.

    The filters are applied to everybody before people are split, so both splits have the same items. The files
    are read twice, since texts of what is left out would fill memory: first who reviewed what, then the texts. A user's
    review that says the same of the same item again counts once, from the first reading on.

    Args:
        path: Reviews, one JSON object a line; gzipped where its name ends in .gz.
        items: The items' metadata, in the same form.
        split: Who is in it, and how many of their reviews become queries.
        filters: Which reviews are used.

    Raises:
        DataError: Names the file, the line (counted from 1) and the field that cannot be used; or no user is left.
    """
    asins = {asin for asin, _, _ in _described(items, filters)}
    pairs: list[Pair] = []
    # Eight bytes a review tell those that were told before.
    told = array("Q")
    # Users and items have one string each, however many reviews there are.
    names: dict[str, str] = {asin: asin for asin in asins}
    for fields, user, asin in _long_enough(path, filters):
        if asin in asins:
            pairs.append((names.setdefault(user, user), names[asin]))
            told.append(_digest(fields, user, asin))
    pairs = _once(pairs, told)
    kept_users, kept_items = _fixpoint(pairs, filters)
    if not kept_users:
        raise DataError(
            f"{path.name}: no user is left: of {len(pairs)} reviews that are long enough and of a described item, none "
            f"is by somebody with {filters.min_user_reviews} to {filters.max_user_reviews} of them, of items with "
            f"{filters.min_item_users} users. Take more reviews, or set data.reviews."
        )
    about = {asin: (title, text) for asin, title, text in _described(items, filters) if asin in kept_items}
    users: dict[str, list[Record]] = {}
    for fields, user, asin in _long_enough(path, filters):
        if user in kept_users and asin in kept_items and split.holds(user):
            users.setdefault(user, []).append(_record(fields, asin, *about[asin]))
    return split.dataset(users)


def _described(path: Path, filters: ReviewFilters) -> Iterator[tuple[str, str, str]]:
    """Id, title and description of each item whose description is of the wanted length."""
    for fields in read_jsonl(path, _ITEM):
        text = _description(fields)
        if filters.min_description_chars <= len(text) <= filters.max_description_chars:
            yield fields.text("parent_asin"), (fields.optional("title") or "").strip(), text


def _digest(fields: Fields, user: str, asin: str) -> int:
    """The same for reviews of which `Repeats` keeps one: a user's same words about an item."""
    parts = (user, asin, folded(fields.text("text")))
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big")


def _once(pairs: list[Pair], told: array[int]) -> list[Pair]:
    """The reviews without those that were told before: nobody is to pass the filters by saying the same again."""
    _, first = np.unique(np.frombuffer(told, np.uint64), return_index=True)
    return [pairs[place] for place in np.sort(first)]


def _description(fields: Fields) -> str:
    value = fields.values.get("description")
    if not isinstance(value, list):
        return (fields.optional("description") or "").strip()
    if not all(isinstance(part, str) for part in value):
        raise fields.error('has a "description" that is not a list of texts.')
    return " ".join(part.strip() for part in value).strip()


def _long_enough(path: Path, filters: ReviewFilters) -> Iterator[tuple[Fields, str, str]]:
    """Each review that is long enough, its user and its item."""
    for fields in read_jsonl(path, _REVIEW):
        if len((fields.optional("text") or "").strip()) >= filters.min_review_chars:
            asin = fields.optional("parent_asin", "asin")
            if asin is None:
                raise fields.missing("parent_asin")
            yield fields, fields.text("user_id"), asin


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
    """The time of a review as ISO text, which tells milliseconds from seconds however few they are."""
    stamp = fields.text("timestamp")
    try:
        return datetime.fromtimestamp(int(stamp) / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        raise fields.error(f'has "{stamp}" as "timestamp", which is no number of milliseconds since 1970.') from None
