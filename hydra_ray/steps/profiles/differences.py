"""DPL (arXiv 2503.02450): a profile of what makes a user different from people who answered the like.

Each of some items of the user is compared with what a few representative peers said of the same or the like; the LLM
names the differences along three styles, and a last call makes a profile of them and of the user's own items. Other
people's texts are in the calls that compare and nowhere else.
"""

from __future__ import annotations

import asyncio
import json
import logging
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hydra_ray.dates import surely_before
from hydra_ray.records import HistoryItem, Message, PeerItem, UserKey
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.profiles.profile import Draft, Pag, PeerSource, ProfileRules, ProfileTools, storable
from hydra_ray.steps.profiles.prompts import fill
from hydra_ray.steps.profiles.representatives import representatives
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.text.cut import first_words
from hydra_ray.text.words import is_character, words

log = logging.getLogger(__name__)

# Newest items for which peers are looked up: a long history with peers for none of it must not take for ever.
_LOOKED_UP = 64
# So many words of somebody else in a row are a quotation, or twice as many characters of a script without blanks.
_QUOTATION = 8
# Apart from asyncio's own threads: while serving, finding peers may wait for a pool that those make.
_THREADS = ThreadPoolExecutor(thread_name_prefix="dpl")


class Difference(BaseModel):
    """Differences of a user from others on one item; other keys of the LLM's answer are ignored.

    Attributes:
        writing: Word choice, sentence structure.
        emotional: Tone.
        semantic: Density of information, coherence.
    """

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)

    writing: str = Field(min_length=1)
    emotional: str = Field(min_length=1)
    semantic: str = Field(min_length=1)


# Strict, as OpenAI has it: every key required, no other allowed, and nothing said of lengths.
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {name: {"type": "string"} for name in Difference.model_fields},
        "required": list(Difference.model_fields),
        "additionalProperties": False,
    }
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """An item of the user and what representative peers said of the like."""

    item: HistoryItem
    peers: tuple[PeerItem, ...]


class Dpl:
    """At most `options.items` LLM calls for differences, as many again where answers cannot be read, and one summary.

    Without any difference (no peers, nobody opted in, no answer that can be read) the profile is PAG's, and says so.
    """

    compares: ClassVar[bool] = True

    def basis(self, rules: ProfileRules) -> tuple[object, ...]:
        o, p = rules.options, rules.options.prompts
        own = (o.peers, o.difference_words, o.difference_tokens, p.difference, p.again, p.summary, SCHEMA, rules.others)
        return *Pag().basis(rules), *own

    async def __call__(
        self, tools: ProfileTools, user: UserKey, history: Sequence[HistoryItem], before: str | None
    ) -> Draft:
        compared: list[Comparison] = []
        if tools.peers is not None:
            # In a thread: looking up and clustering are work for a processor.
            compared = await asyncio.get_running_loop().run_in_executor(
                _THREADS, compare, tools, tools.peers, user, history, before
            )
        found = await asyncio.gather(*(extract(tools, user, one) for one in compared))
        differences = [one for one in found if one is not None]
        dropped = len(found) - len(differences)
        if not differences:
            why = "nobody to compare with" if not found else "no difference that the LLM named can be used"
            log.info("a profile of kind dpl is written as pag: %s", why)
            return replace(await Pag()(tools, user, history, before), degraded=True, dropped=dropped)
        asked = fill(
            tools.options.prompts.summary,
            differences="\n\n".join(_as_text(one, tools.options.difference_words) for one in differences),
            history="\n\n".join(tools.shown(item) for item in tools.picked(user, history)),
        )
        peers = tuple(sorted({peer.user for one in compared for peer in one.peers}))
        text = await tools.ask(Message("user", asked), max_tokens=tools.options.max_tokens, users=(user, *peers))
        return Draft(text, peers, dropped=dropped)


def compare(
    tools: ProfileTools, source: PeerSource, user: UserKey, history: Sequence[HistoryItem], before: str | None
) -> list[Comparison]:
    """The newest of the user's items that others answered too, each with its representatives; fewer than wanted,
    or none, where few have peers.
    """
    return list(islice(_comparisons(tools, source, user, history, before), tools.options.items))


def _comparisons(
    tools: ProfileTools, source: PeerSource, user: UserKey, history: Sequence[HistoryItem], before: str | None
) -> Iterator[Comparison]:
    options = tools.options
    for item in list(reversed(history))[:_LOOKED_UP]:
        others = _allowed(source.comparable(user, item, before), user, before)
        seed = stable_seed(options.seed, *user, item.id)
        if chosen := representatives(item.output, others, options.peers, source.embed, seed):
            yield Comparison(item, tuple(chosen))


def _allowed(found: Sequence[PeerItem], user: UserKey, before: str | None) -> list[PeerItem]:
    """One item of each peer. Whoever finds peers, what may never be read is refused here once more: the user's own
    texts as a peer's, another tenant's, and what may have been written after the cut-off.
    """
    by_user: dict[UserKey, PeerItem] = {}
    for peer in found:
        if peer.user != user and peer.user.tenant == user.tenant and surely_before(peer.item.ts, before):
            by_user.setdefault(peer.user, peer)
    return list(by_user.values())


async def extract(tools: ProfileTools, user: UserKey, one: Comparison) -> Difference | None:
    """The differences as the LLM names them; None where it cannot be brought to do so in two attempts.

    The answer is held to a schema where the LLM can be, and read with care all the same.

    Raises:
        GenerateError: The LLM is out of reach for now. What it will never answer is None.
    """
    options = tools.options
    others = [_as_compared(tools, one.item, peer) for peer in one.peers]
    numbered = "\n\n".join(f"{number}.\n{text}" for number, text in enumerate(others, 1))
    asked = fill(options.prompts.difference, own=tools.shown(one.item), others=numbered)
    messages, why = [Message("user", asked)], ValueError()
    whose = (user, *(peer.user for peer in one.peers))
    for attempt in ("at_once", "again"):
        try:
            answer = await tools.ask(*messages, max_tokens=options.difference_tokens, users=whose, schema=SCHEMA)
        except GenerateError as error:
            if not error.final:
                raise
            log.warning("an item is left out of the profile's differences: the LLM gave no answer: %s", error)
            tools.note("never")
            return None
        try:
            found = _in_own_words(read_difference(answer), tools.shown(one.item), others)
        except ValueError as error:
            why = error
            messages += [Message("assistant", answer), Message("user", fill(options.prompts.again, error=str(error)))]
        else:
            tools.note(attempt)
            return found
    tools.note("never")
    log.warning("an item is left out of the profile's differences: the LLM's answer cannot be used: %s", why)
    return None


def read_difference(answer: str) -> Difference:
    """The first JSON object of an LLM's answer that has the three keys; fences and prose around it do not matter.

    Raises:
        ValueError: There is none; the message says what is wrong with the first object.
    """
    wrong = ""
    for place, sign in enumerate(answer):
        if sign != "{":
            continue
        try:
            # Without `strict` a line may end within a string, as LLMs like to have it.
            found, _ = json.JSONDecoder(strict=False).raw_decode(answer, place)
            read = Difference.model_validate(found, strict=True)
            return Difference(**{name: storable(text) for name, text in read})
        except ValidationError as error:
            wrong = wrong or "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        except ValueError:
            # A brace of the prose, or an object that is broken.
            continue
        except RecursionError:
            # Braces without end, of which the next is as deep.
            break
    raise ValueError(wrong or "it holds no complete JSON object")


def _in_own_words(difference: Difference, own: str, others: Sequence[str]) -> Difference:
    """Return the difference; raise ValueError where it would carry others' words into the user's profile."""
    theirs = {run for text in others for run in _runs(text)} - _runs(own)
    for name, text in difference:
        if _runs(text) & theirs:
            raise ValueError(f"{name}: it quotes another person; say it in your own words")
    return difference


def _runs(text: str) -> set[tuple[str, ...]]:
    """All runs of the text's words that are long enough to be a quotation, and no longer."""
    spoken = words(text)
    # Length of the text before each word, in words.
    before = list(accumulate((0.5 if is_character(word) else 1.0 for word in spoken), initial=0.0))
    ends = (bisect_left(before, start + _QUOTATION) for start in before[:-1])
    return {tuple(spoken[start:end]) for start, end in enumerate(ends) if end < len(before)}


def _as_compared(tools: ProfileTools, item: HistoryItem, peer: PeerItem) -> str:
    """Return what the peer said, with its input only where that is another one than the user's."""
    if peer.item.input == item.input:
        return f"Answer: {first_words(peer.item.output, tools.options.words)}"
    return tools.shown(peer.item)


def _as_text(difference: Difference, words: int) -> str:
    return "\n".join(f"{name}: {first_words(text, words)}" for name, text in difference)
