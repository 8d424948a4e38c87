"""Steps that methods share: retrieval, the profile's message, and one prompt with a greedy answer or a vote."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from hydra_ray.methods.ports import Ports, Recipe, StepError
from hydra_ray.records import Answer, Candidate, ChatRequest, Generation, HistoryItem, Message, Query, Ranked, Usage
from hydra_ray.steps.adapt import distinct_candidates, json_candidates
from hydra_ray.steps.candidates import candidate_requests, joined
from hydra_ray.steps.formats import is_valid
from hydra_ray.steps.generate import FilteredError
from hydra_ray.steps.profiles.prompts import fill
from hydra_ray.steps.prompt import Prompter
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.steps.vote import consensus
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)


async def ask(
    ports: Ports,
    prompter: Prompter,
    recipe: Recipe,
    query: Query,
    shots: Sequence[HistoryItem],
    *,
    history: Sequence[Ranked],
    degraded: Sequence[str],
    profile: str = "",
    vote: bool = False,
) -> Answer:
    """Ask the LLM once, or for as many answers as hydra does, and take what they agree on.

    Args:
        ports: Ports of the method; the generator is asked.
        prompter: Prompter that writes the chat.
        recipe: Recipe with the seed, and with candidates and temperature of a vote.
        query: Query to answer.
        shots: History items that are shown, most useful first.
        history: Those of the shots that the answer may name.
        degraded: Names of what was done without.
        profile: Message about the user, which the prompter takes; "" leaves it out.
        vote: Whether the LLM is sampled, so that a method that chooses is compared at equal LLM calls.
    """
    prompt, without = prompter(query, shots, profile), list(degraded)
    found = await sampled(ports, prompter.task, recipe, query, prompt.messages, several=vote, degraded=without)
    candidates = consensus(prompter.task, found.candidates)
    return Answer(
        query_id=query.id,
        text=candidates[0].text if candidates else "",
        history=tuple(history),
        candidates=candidates,
        degraded=tuple(without),
        usage=found.usage,
        truncated=prompt.truncated,
        prompt=prompt.messages,
        ignored=found.ignored,
    )


@dataclass(frozen=True, slots=True)
class Sampled:
    """The LLM's answers to one prompt.

    Attributes:
        candidates: Distinct answers with their votes.
        usage: Calls and tokens that all of them took.
        ignored: What of the query's wishes the LLM was not told, or does not know.
    """

    candidates: tuple[Candidate, ...]
    usage: Usage
    ignored: tuple[str, ...]


async def sampled(
    ports: Ports,
    task: Task,
    recipe: Recipe,
    query: Query,
    messages: tuple[Message, ...],
    *,
    several: bool,
    degraded: list[str],
) -> Sampled:
    """Ask the LLM for one answer at temperature 0, or for as many as the recipe says; and as the query wishes.

    Args:
        ports: Ports of the method; the generator is asked.
        task: Task of the query.
        recipe: Recipe with the seed, and with candidates and temperature.
        query: Query to answer; what it wishes goes before what recipe and task say.
        messages: Chat that asks it.
        several: Whether the recipe's candidates are wanted.
        degraded: Gets an entry where no answer has the form that was asked for.
    """
    wishes = query.wishes
    greedy, count = recipe.greedy or not several, max(recipe.candidates if several else 1, wishes.n)
    if wishes.temperature is not None:
        # The client's temperature is that of the one answer, too; at 0 all answers would be the same.
        greedy, count = recipe.greedy and several and wishes.temperature > 0, count if wishes.temperature else 1
    requests = candidate_requests(
        messages,
        count,
        recipe.temperature if wishes.temperature is None else wishes.temperature,
        greedy,
        wishes.max_tokens or task.max_tokens,
        stable_seed(recipe.seed, query.user, query.id, *(() if wishes.seed is None else (wishes.seed,))),
        query.whose,
        wishes.sampling,
    )
    found = await _asked(ports, task, requests, said=wishes.n == 1)
    wanted = wishes.sampling.response_format
    if not wanted:
        return Sampled(distinct_candidates(task, found.texts, found.ends), found.usage, found.ignored)
    # A label read out of it would be no JSON any more.
    answers = list(zip(found.texts, found.ends, strict=True))
    valid = [(text, end) for text, end in answers if is_valid(text, wanted)]
    if not valid:
        log.warning("none of %d answers has the form that was asked for", len(answers))
        degraded.append("response_format")
    texts, ends = zip(*(valid or answers), strict=True) if answers else ((), ())
    return Sampled(json_candidates(texts, ends), found.usage, found.ignored)


async def _asked(ports: Ports, task: Task, requests: Sequence[ChatRequest], *, said: bool) -> Generation:
    """Ask the LLM for all of a query's samples; for one alone, which is the answer word for word, by `Ports.say`.

    Args:
        ports: Ports of the method; the generator is asked.
        task: Task that says whether answers are what the LLM says, word for word.
        requests: Requests that together bring the samples.
        said: Whether one answer is all that the client wants.
    """
    if said and ports.say is not None and task.free and sum(request.n for request in requests) == 1:
        return await ports.say(requests[0])
    return _unfiltered(await asyncio.gather(*(_generated(ports, request) for request in requests)))


async def _generated(ports: Ports, request: ChatRequest) -> Generation | FilteredError:
    try:
        return await ports.generate(request)
    except FilteredError as error:
        return error


def _unfiltered(ends: Sequence[Generation | FilteredError]) -> Generation:
    """Return all answers that a filter left; what it took is no candidate, and was paid for.

    Raises:
        FilteredError: There is none, with what all of them took.
    """
    filtered = [end for end in ends if isinstance(end, FilteredError)]
    spent = sum((error.usage for error in filtered), Usage())
    found = joined(tuple(end for end in ends if isinstance(end, Generation))) + Generation((), spent)
    if filtered and not found.texts:
        raise FilteredError(str(filtered[0]), found.usage, next((one.refusal for one in filtered if one.refusal), ""))
    for error in filtered:
        log.warning("an answer is no candidate: %s", error)
    return found


async def retrieved(ports: Ports, query: Query, k: int, by: str, degraded: list[str]) -> list[Ranked]:
    """Return the user's history as a retriever ranks it; none where the port fails, which `degraded` then says."""
    try:
        return await ports.retrieve(query, k, by)
    except StepError as error:
        log.warning("the retriever failed, answering without history", exc_info=error)
        degraded.append("retriever")
        return []


async def profile_message(ports: Ports, recipe: Recipe, query: Query, kind: str, degraded: list[str]) -> str:
    """Return the user's profile in the words of the recipe's template; "" where there is none.

    Args:
        ports: Ports of the method; the profile port is asked.
        recipe: Recipe with the template.
        query: Query whose user the profile is of.
        kind: Kind of profile; "" asks for none.
        degraded: Gets an entry where the port fails, and where the profile could not tell what sets the user apart.
    """
    if not kind:
        return ""
    try:
        profile = await ports.profile(query, kind)
    except StepError as error:
        log.warning("the profile of kind %s cannot be had, answering without", kind, exc_info=error)
        degraded.append("profile")
        return ""
    if profile.degraded:
        degraded.append("differences")
    return fill(recipe.profile_template, profile=profile.text) if profile.text else ""
