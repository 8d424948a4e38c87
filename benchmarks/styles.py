"""People whose habits of writing are hidden, and an LLM by rules that knows of them only what its prompt shows.

Whatever somebody writes of a thing has marks, each a sentence. Most of them everybody's have who writes of that kind of
thing; a few are the person's own habit, whatever they write of. Their own texts alone do not tell one from the other,
since a person writes of two kinds of thing above all, and is asked about others. What comparable people wrote tells
it: so it is known what a profile of differences (`dpl`) has to add to a summary of own texts (`pag`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hydra_ray.data.dataset import Dataset, User
from hydra_ray.records import ChatRequest, Generation, HistoryItem, Query, Usage, UserKey
from hydra_ray.tasks import Task
from hydra_ray.text.words import words

TENANT = "default"
TASK = Task(name="styles", kind="generation", instruction="Write what this person would write of it.", max_tokens=64)


class Mark(NamedTuple):
    """A mark of a text.

    Attributes:
        sentence: Sentence by which texts have it.
        described: How it is said of somebody that their texts have it.
        aspect: Key of differences that it belongs to.
    """

    sentence: str
    described: str
    aspect: Literal["writing", "emotional", "semantic"]


MARKS = (
    Mark("Honestly.", "begins with a word of honesty", "writing"),
    Mark("Who would have thought?", "asks a question", "writing"),
    Mark("In a nutshell: fine.", "sums it up", "writing"),
    Mark("What a delight.", "shows joy", "emotional"),
    Mark("It made me grumble.", "complains", "emotional"),
    Mark("Many thanks to everybody.", "thanks the makers", "emotional"),
    Mark("Worth every penny.", "speaks of the price", "semantic"),
    Mark("Bring the children.", "gives advice", "semantic"),
    Mark("Better than last time.", "compares with earlier ones", "semantic"),
)
# What everybody's texts have, by kind of thing: an LLM has read so many that it knows.
USUAL: dict[str, frozenset[int]] = {
    "concert": frozenset({0, 3, 6}),
    "hotel": frozenset({2, 4, 6}),
    "film": frozenset({1, 3, 8}),
    "museum": frozenset({2, 5, 7}),
    "phone": frozenset({0, 4, 8}),
    "novel": frozenset({1, 5, 7}),
}
_THINGS = 8
# Items of the kind that a person mostly writes of, and of another one.
_MOST, _SOME = 6, 2
_ALWAYS, _NEVER = 3, 1
# Shares of own texts above which a summary names a mark, and number of items above which it is a difference.
_OFTEN, _ONCE = 0.75, 1


@dataclass(frozen=True, slots=True)
class Habits:
    """What a person does whatever they write of, hidden from everything but the tests.

    Attributes:
        always: Numbers of marks that all their texts have.
        never: Numbers of marks that none has.
    """

    always: frozenset[int]
    never: frozenset[int]

    def marks(self, kind: str) -> frozenset[int]:
        """Return the marks of their text of a thing of this kind."""
        return (USUAL[kind] | self.always) - self.never

    @property
    def described(self) -> str:
        """A profile that tells them all: what the best profile could."""
        return _apart([(one, True) for one in sorted(self.always)] + [(one, False) for one in sorted(self.never)])


def people(users: int, seed: int) -> tuple[Dataset, dict[UserKey, Habits]]:
    """Simulate people, their histories, and two queries each about kinds of thing that they seldom or never wrote of.

    Args:
        users: Number of people.
        seed: Seed of everything.

    Returns:
        The data set with its golds, and each person's habits.
    """
    made, golds, habits = [], {}, {}
    for number in range(users):
        random = Random(f"{seed}/{number}")
        key = UserKey(TENANT, f"person-{number:03d}")
        own = random.sample(range(len(MARKS)), _ALWAYS + _NEVER)
        habits[key] = Habits(frozenset(own[:_ALWAYS]), frozenset(own[_ALWAYS:]))
        most, some, new = random.sample(list(USUAL), 3)
        things = [(most, thing) for thing in random.sample(range(_THINGS - 1), _MOST)]
        things += [(some, thing) for thing in random.sample(range(_THINGS - 1), _SOME)]
        random.shuffle(things)
        history = tuple(
            HistoryItem(f"{key.user}-{kind}-{thing}", *written(kind, thing, habits[key]), item_id=f"{kind}-{thing}")
            for kind, thing in things
        )
        queries = []
        for kind in (some, new):
            text, gold = written(kind, _THINGS - 1, habits[key])
            queries.append(Query(f"{key.user}-{kind}", key, text))
            golds[queries[-1].id] = gold
        made.append(User(key, history, tuple(queries)))
    return Dataset(tuple(made), golds), habits


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return vectors of length 1 by the marks and kinds of things in texts, the same on every machine."""
    columns = [*(mark.sentence.lower() for mark in MARKS), *USUAL]
    found = np.array([[column in text.lower() for column in columns] for text in texts], np.float32).reshape(
        len(texts), len(columns)
    )
    # Nobody's is empty.
    found = np.hstack([found, np.full((len(texts), 1), 0.1, np.float32)])
    return np.ascontiguousarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


class RuleLLM:
    """An LLM that follows rules: it looks for sentences in its prompt and knows `USUAL`, and nothing of any person.

    - Asked how a person differs from others: it names the marks that the person's text has and most others' lack, and
      the other way round. As JSON if it is `fluent` or held to a schema; else as prose, as small LMs do.
    - Asked for a profile of differences: it tells those that were named more than once.
    - Asked for a profile of own texts: it tells the marks that most of them have.
    - Asked to write: it writes what is usual of the kind of thing. Told of the user, it does what it is told; else
      it adds what half of the examples have.

    Args:
        fluent: Whether it writes JSON without being held to a schema.
        held: Whether it can be held to a schema.
    """

    def __init__(self, *, fluent: bool = True, held: bool = True) -> None:
        self._fluent, self._held = fluent, held
        self.requests: list[ChatRequest] = []

    async def __call__(self, request: ChatRequest) -> Generation:
        self.requests.append(request)
        asked = request.messages[-1].content
        if "The others:" in request.messages[0].content:
            text = self._compared(request.messages[0].content, bool(request.schema) and self._held)
        elif "Differences:" in asked:
            text = _summed_up(asked.split("Own answers:")[0])
        elif "how this person writes" in asked:
            text = _described(asked)
        else:
            text = _answered(request)
        prompt = sum(len(words(message.content)) for message in request.messages)
        return Generation((text,), Usage(1, prompt, len(words(text))))

    async def close(self) -> None:
        """Does nothing: there is nothing to let go."""

    def _compared(self, asked: str, held: bool) -> str:
        own, others = asked.split("This person:")[1].split("The others:")
        theirs = [_marks(text) for text in re.split(r"\n\d+\.\n", others)[1:]]
        mine, usual = _marks(own), Counter(mark for marks in theirs for mark in marks)
        found: dict[str, list[str]] = {"writing": [], "emotional": [], "semantic": []}
        for number, mark in enumerate(MARKS):
            if (number in mine) != (2 * usual[number] > len(theirs)):
                found[mark.aspect].append(f"{'' if number in mine else 'never '}{mark.described}")
        if not (self._fluent or held):
            return "They differ: " + "; ".join(said for one in found.values() for said in one)
        return json.dumps({aspect: "; ".join(said) or "much like the others" for aspect, said in found.items()})


def _summed_up(differences: str) -> str:
    counts = Counter[tuple[int, bool]]()
    for line in differences.splitlines():
        counts.update(_said_of_them(line))
    return _apart([one for one, count in sorted(counts.items()) if count > _ONCE])


def _apart(marks: Sequence[tuple[int, bool]]) -> str:
    said = "; ".join(f"{'' if does else 'never '}{MARKS[number].described}" for number, does in marks)
    return f"Apart from others this person {said}." if said else "This person writes as others do."


def _described(asked: str) -> str:
    texts = re.findall(r"Answer: (.*)", asked)
    counts = Counter(mark for text in texts for mark in _marks(text))
    often = [MARKS[number].described for number, count in sorted(counts.items()) if count >= _OFTEN * len(texts)]
    return f"This person most often {'; '.join(often)}."


def _answered(request: ChatRequest) -> str:
    *before, query = request.messages
    kind, thing = _thing(query.content)
    marks = set(USUAL[kind])
    profile = [message.content for message in before if message.role == "system"]
    shown = [_marks(message.content) for message in before if message.role == "assistant"]
    if profile:
        for number, does in _said_of_them("\n".join(profile)):
            (marks.add if does else marks.discard)(number)
    elif shown:
        counts = Counter(mark for one in shown for mark in one)
        marks |= {mark for mark, count in counts.items() if 2 * count >= len(shown)}
    return _text(kind, thing, marks)


def _said_of_them(text: str) -> Iterator[tuple[int, bool]]:
    """Marks that a text says somebody's texts have, or never have."""
    for number, mark in enumerate(MARKS):
        if mark.described in text:
            yield number, f"never {mark.described}" not in text


def _marks(text: str) -> set[int]:
    return {number for number, mark in enumerate(MARKS) if mark.sentence in text}


def _thing(text: str) -> tuple[str, int]:
    found = re.findall(rf"A ({'|'.join(USUAL)}), number (\d)", text)
    return found[-1][0], int(found[-1][1])


def written(kind: str, thing: int, habits: Habits) -> tuple[str, str]:
    """The text of a thing, and what a person of these habits writes of it."""
    return f"A {kind}, number {thing}.", _text(kind, thing, habits.marks(kind))


def _text(kind: str, thing: int, marks: Collection[int]) -> str:
    said = [MARKS[number].sentence for number in sorted(marks)]
    return " ".join([f"This is about {kind} number {thing}.", *said])
