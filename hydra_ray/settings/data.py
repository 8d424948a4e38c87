"""Settings of users' records: where they come from, and which are used."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from hydra_ray.settings.section import Section

# A path or a URI; as a path, s3://bucket would lose a slash.
Place = Annotated[
    str, BeforeValidator(lambda value: fspath(value) if isinstance(value, PathLike) else value), Field(min_length=1)
]


class ReviewSettings(Section):
    """For reviews: which are used. The defaults are DPL's (arXiv 2503.02450)."""

    min_review_chars: int = Field(200, ge=0, description="Shorter reviews are left out.")
    min_description_chars: int = Field(100, ge=0, description="Items with a shorter description are left out.")
    max_description_chars: int = Field(2000, ge=0, description="Items with a longer description are left out.")
    min_item_users: int = Field(8, ge=1, description="Items that fewer users reviewed are left out.")
    min_user_reviews: int = Field(18, ge=1, description="Users with fewer reviews are left out.")
    max_user_reviews: int = Field(500, ge=1, description="Users with more reviews are left out.")

    @model_validator(mode="after")
    def _bounds_make_ranges(self) -> ReviewSettings:
        if self.min_description_chars > self.max_description_chars:
            raise ValueError("min_description_chars is more than max_description_chars")
        if self.min_user_reviews > self.max_user_reviews:
            raise ValueError("min_user_reviews is more than max_user_reviews")
        return self


class DataSettings(Section):
    """Where users' records come from."""

    format: Literal["lamp", "records", "reviews", "chat", "simulated", "store"] = Field(
        "lamp", description="store: the histories that the store holds, with what was said while serving."
    )
    dir: Place | None = Field(
        None, description="Folder or URI of LaMP's <split>_questions.json and <split>_outputs.json."
    )
    path: Place | None = Field(
        None, description="File, folder, glob or URI (s3://) of records, reviews or chats: JSON, CSV or Parquet."
    )
    items: Place | None = Field(None, description="For reviews: likewise, of {parent_asin, title, description}.")
    skip_bad: int | float = Field(
        0, ge=0, description="Bad records that may be left out: so many, or below 1 a share of all, e.g. 0.01."
    )
    reviews: ReviewSettings = ReviewSettings()
    task: str = Field("text", description="A task of the registry, e.g. LaMP_2M.")
    split: str = Field("train", description="train, dev or another split that the data has.")
    max_users: int | None = Field(None, ge=1, description="Sample this many users with the seed; null takes all.")
    instruction: str = Field("", description="For records and reviews: what the LLM is told before the input.")
    labels: tuple[str, ...] = Field((), description="For records: the allowed answers, if the set is closed.")
    queries_per_user: int = Field(
        3, ge=1, description="For records, reviews and chat: the latest of a user held out as queries."
    )
    dev_share: float = Field(
        0.25, gt=0, lt=1, description="For records, reviews and chat: share of users in split dev."
    )
    train_users: int = Field(48, ge=1, description="For simulated: users in split train.")
    dev_users: int = Field(40, ge=1, description="For simulated: users in split dev.")
    history: int = Field(24, ge=0, description="For simulated: history items a user.")
    queries: int = Field(4, ge=1, description="For simulated: queries a user.")

    @field_validator("skip_bad", mode="before")
    @classmethod
    def _a_count_or_a_share(cls, value: Any) -> Any:
        try:
            number = None if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None:
            raise ValueError("write a count, e.g. 100, or a share below 1, e.g. 0.01")
        return value

    @field_validator("skip_bad")
    @classmethod
    def _not_between(cls, value: float) -> float:
        if isinstance(value, float) and value >= 1:
            raise ValueError("write a count as a whole number, e.g. 100, or a share below 1, e.g. 0.01")
        return value
