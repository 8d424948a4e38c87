"""Profiles: what an LLM wrote of a user. What all kinds share, and the first kind, PAG.

PAG (Richardson et al., 2023, arXiv 2310.20081): a summary of the user's own history stands in the prompt, beside
retrieved items.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from hydra_ray.records import ChatRequest, HistoryItem, Message, PeerItem, UserKey
from hydra_ray.steps.generate import Generator
from hydra_ray.steps.profiles.prompts import ProfilePrompts, fill
from hydra_ray.steps.retrieval.embed import Embed
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.tasks import Task
from hydra_ray.text.cut import first_words

# Of a user, for one of their items and until a point in time: how others answered the like, nearest first.
Comparable = Callable[[UserKey, HistoryItem, str | None], Sequence[PeerItem]]

# When the LLM's answer about an item's differences could be read.
Readable = Literal["at_once", "again", "never"]


def nobody_counts(readable: Readable) -> None:
    """Counts nothing."""


def in_words(read: Mapping[Readable, int]) -> str:
    """Say of how many items, of those that were compared with others', the LLM's answer could be read."""
    asked, never, again = sum(read.values()), read.get("never", 0), read.get("again", 0)
    late = f", {again} of them when asked again" if again else ""
    return (
        f"Of {asked} answers about an item's differences {asked - never} could be read "
        f"({(asked - never) / asked:.0%}){late}."
    )


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """Options of writing profiles.

    Attributes:
        items: Most history items that are read; for dpl also most that are compared with others'.
        pick: Which of the user's own items are read.
        peers: Most other users an item is compared with.
        words: Longest input and longest output of an item, in words.
        difference_words: Longest statement of a difference, in words.
        max_tokens: Longest profile, in the LLM's tokens.
        difference_tokens: Longest answer about one item's differences.
        refresh_items: A profile is written anew when the history has grown by so many items.
        prompts: Prompts that ask for profiles.
        seed: Seed that draws random items and starts k-means.
    """

    items: int
    pick: Literal["newest", "random"]
    peers: int
    words: int
    difference_words: int
    max_tokens: int
    difference_tokens: int
    refresh_items: int
    prompts: ProfilePrompts
    seed: int


@dataclass(frozen=True, slots=True)
class PeerSource:
    """Source of other users' texts.

    Attributes:
        comparable: Finds other users' items that compare with one of the user's.
        embed: Gives texts' vectors, for choosing among them.
    """

    comparable: Comparable
    embed: Embed


@dataclass(frozen=True, slots=True)
class ProfileRules:
    """Rules that profiles depend on besides histories: with other rules they are written anew.

    Attributes:
        task: Task whose answers the histories hold.
        options: Numbers and prompts.
        others: Limits and encoder of the search for comparable texts, as one text; None where nobody opted in.
    """

    task: Task
    options: ProfileOptions
    others: str | None


@dataclass(frozen=True, slots=True)
class ProfileTools:
    """Tools that every kind of profile is written with.

    Attributes:
        generator: LLM that writes.
        rules: Rules that it writes by.
        peers: Source of others' texts; None where nobody opted in.
        note: Called for each item that was compared with others'.
    """

    generator: Generator
    rules: ProfileRules
    peers: PeerSource | None = None
    note: Callable[[Readable], None] = nobody_counts

    @property
    def options(self) -> ProfileOptions:
        """Options of the rules."""
        return self.rules.options

    async def ask(self, *messages: Message, max_tokens: int, users: tuple[UserKey, ...], schema: str = "") -> str:
        """Return the LLM's greedy answer, fit to be stored; "" where it says nothing.

        Args:
            messages: The chat.
            max_tokens: Longest answer, in the LLM's tokens.
            users: Users whose texts the chat holds.
            schema: JSON schema that the answer is held to where the LLM can be; "" holds it to none.

        Raises:
            GenerateError: The LLM gave no answer.
        """
        answer = await self.generator(ChatRequest(messages, max_tokens=max_tokens, users=users, schema=schema))
        return storable(answer.texts[0]) if answer.texts else ""

    def picked(self, user: UserKey, history: Sequence[HistoryItem]) -> list[HistoryItem]:
        """The user's own items that are read, oldest first."""
        options = self.options
        if options.pick == "newest" or len(history) <= options.items:
            return list(history[-options.items :])
        drawn = random.Random(stable_seed(options.seed, *user)).sample(range(len(history)), options.items)
        return [history[place] for place in sorted(drawn)]

    def shown(self, item: HistoryItem) -> str:
        """An item as prompts show it, cut to its budget."""
        text, answer = (first_words(one, self.options.words) for one in (item.input, item.output))
        return f"Text: {text}\nAnswer: {answer}" if text else answer


@dataclass(frozen=True, slots=True)
class Draft:
    """A profile as its kind has written it.

    Attributes:
        text: The profile.
        peers: Users whose texts were read for it.
        degraded: Whether it had to do without what makes its kind.
        dropped: Items that were left out because the LLM's answer about them could not be used.
    """

    text: str
    peers: tuple[UserKey, ...] = ()
    degraded: bool = False
    dropped: int = 0


class ProfileKind(Protocol):
    """One way to write profiles.

    Attributes:
        compares: Whether its profiles tell what sets the user apart from others; degraded ones do not.
    """

    compares: ClassVar[bool]

    def basis(self, rules: ProfileRules) -> tuple[object, ...]:
        """The part of the rules that its profiles depend on."""
        ...

    async def __call__(
        self, tools: ProfileTools, user: UserKey, history: Sequence[HistoryItem], before: str | None
    ) -> Draft:
        """Writes a profile.

        Args:
            tools: Tools to write with.
            user: The user whom the profile is of.
            history: History items of the user that may be seen, oldest first; not empty.
            before: Only what others said before this is read; None where nothing is dated.

        Raises:
            GenerateError: The LLM gave no answer.
        """
        ...


class Pag:
    """A summary of the user's own items: one LLM call, with a template for each kind of task."""

    compares: ClassVar[bool] = False

    def basis(self, rules: ProfileRules) -> tuple[object, ...]:
        o = rules.options
        return o.items, o.pick, o.words, o.max_tokens, o.seed, self._template(rules)

    async def __call__(
        self, tools: ProfileTools, user: UserKey, history: Sequence[HistoryItem], before: str | None
    ) -> Draft:
        shown = "\n\n".join(tools.shown(item) for item in tools.picked(user, history))
        asked = Message("user", fill(self._template(tools.rules), history=shown))
        return Draft(await tools.ask(asked, max_tokens=tools.options.max_tokens, users=(user,)))

    def _template(self, rules: ProfileRules) -> str:
        return getattr(rules.options.prompts, rules.task.kind)


def storable(text: str) -> str:
    """The text without what no database and no wire takes: zeros, and halves of surrogate pairs."""
    return text.replace("\0", "").encode("utf-8", "ignore").decode().strip()
