"""What clients say of a completion: the body of a request, and what it comes to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictInt, model_validator
from pydantic_core import PydanticCustomError

from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.ids import StoredText
from hydra_ray.serve.http.messages import Lenient
from hydra_ray.store.completions.records import Completion, Reaction, Statement
from hydra_ray.store.types import FeedbackEvent, Said
from hydra_ray.tasks import Task

Scale = Literal["thumbs", "stars"]

_RATINGS: dict[Scale, tuple[int, ...]] = {"thumbs": (-1, 1), "stars": (1, 2, 3, 4, 5)}
# What a rating comes to, from the worst to the best one of its scale.
_STANDS_FOR: dict[Scale, tuple[Said, ...]] = {
    "thumbs": ("rejected", "accepted"),
    "stars": ("rejected", "rejected", "neutral", "accepted", "accepted"),
}
# Who has an answer made again would not have it.
_REACTIONS: dict[Reaction, Said] = {
    "accepted": "accepted",
    "rejected": "rejected",
    "edited": "edited",
    "regenerated": "rejected",
}


class CompletionFeedback(Lenient):
    """What a user says of one completion; at least one field beside `id` says something.

    Attributes:
        id: Id of the completion, as its answer has it.
        verdict: What became of the answer.
        rating: How good it was, on the scale that `serve.ratings` names.
        edited: Text that the user made of it.
        chosen: Place of the choice that it is about, from 0; the answer itself where it is not sent.
    """

    model_config = ConfigDict(extra="forbid")

    id: StoredText
    verdict: Reaction | None = None
    rating: StrictInt | None = None
    edited: StoredText | None = None
    chosen: Annotated[StrictInt, Field(ge=0, le=1_000)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> CompletionFeedback:
        if (self.verdict, self.rating, self.edited, self.chosen) == (None, None, None, None):
            raise PydanticCustomError("nothing", "nothing is said: send verdict, rating, edited or chosen")
        if self.verdict == "edited" and self.edited is None:
            raise PydanticCustomError("edited", "verdict edited needs the text: send edited")
        if self.edited is not None and self.verdict not in (None, "edited"):
            raise PydanticCustomError("edited", f"a text that was edited does not go with verdict {self.verdict}")
        return self

    def statement(self, scale: Scale, completion: Completion) -> Statement:
        """Return what is said of a completion.

        Args:
            scale: Scale of ratings.
            completion: The completion.

        Raises:
            RequestError: The rating is none of the scale, or there is no such choice.
        """
        if self.rating is not None and self.rating not in _RATINGS[scale]:
            known = ", ".join(map(str, _RATINGS[scale]))
            raise RequestError(f"rating: {self.rating} is none of {known} (serve.ratings: {scale})", "rating")
        if self.chosen is not None and completion.candidates and self.chosen >= len(completion.candidates):
            raise RequestError(
                f"chosen: {len(completion.candidates)} texts competed, 0 the best; choices after them repeat it: say 0",
                "chosen",
            )
        reaction = self.verdict or ("edited" if self.edited is not None else None)
        if reaction is None and self.rating is None:
            reaction = "accepted"
        return Statement(reaction, self.rating, self.edited, self.chosen)


def said_by(statement: Statement, scale: Scale) -> Said:
    """Return what a statement comes to: what became of the answer counts more than how it was rated."""
    if statement.reaction is not None:
        return _REACTIONS[statement.reaction]
    if statement.rating is None:
        return "neutral"
    return _STANDS_FOR[scale][_RATINGS[scale].index(statement.rating)]


def event_of(completion: Completion, statement: Statement, scale: Scale, task: Task) -> FeedbackEvent | None:
    """Return the feedback event of what was said of a user's completion; its id is the completion's.

    Args:
        completion: The completion, with its texts.
        statement: What was said of it.
        scale: Scale of ratings.
        task: Task of the base.

    Returns:
        The event; None where nothing is kept of what was asked, or histories of the task hold no answers.

    Raises:
        RequestError: What the user made of the answer is not among the task's allowed answers.
    """
    if not completion.input or not completion.candidates or not task.pairs:
        return None
    said = said_by(statement, scale)
    place = completion.answered if statement.chosen is None else statement.chosen
    text = completion.candidates[place].text
    if not text.strip():
        # A call of tools, say: what a user makes of that is no other answer to the question.
        said = "neutral"
    elif said == "edited" and statement.edited is not None:
        text = statement.edited
    is_no_answer = not text.strip() or (task.closed and said != "rejected" and task.parse(text) is None)
    if is_no_answer and said == "edited":
        raise RequestError(f"edited: {text!r} is not among the allowed answers: {', '.join(task.labels)}", "edited")
    if is_no_answer:
        # It takes the place of what was said before, and teaches nothing.
        said = "neutral"
    offers = [one for one in completion.candidates if one.text.strip()]
    return FeedbackEvent(
        completion.id,
        completion.input,
        said,
        task.parse(text) or text,
        tuple(task.parse(one.text) or one.text for one in offers),
        votes=tuple(one.votes for one in offers),
        completion_id=completion.id,
        method=completion.method,
        propensity=completion.propensity,
    )
