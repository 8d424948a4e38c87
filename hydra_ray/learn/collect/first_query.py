"""Asks the first query of a plan alone, where it is not known how many calls the endpoint takes for samples."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from hydra_ray.learn.collect.plan import Example
from hydra_ray.learn.collect.report import left_to_ask
from hydra_ray.learn.collect.setup import collection_settings, make_request_writer
from hydra_ray.learn.collect.store import FeedbackStore
from hydra_ray.records import Usage
from hydra_ray.runtime.generators import known_dialect, make_budget, make_generator, open_cache
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import BudgetSpentError, GenerateError
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)


def ask_first(settings: Settings, task: Task, examples: Sequence[Example]) -> Usage:
    """Asks for the candidates of the first query that is left, if a plan within a budget depends on what they cost.

    It costs nothing: the answers are kept, and the collection finds them. Where it fails, the collection tells why.

    Returns:
        What it spent; nothing where nothing was asked.

    Raises:
        HydraError: The feedback that is there was collected with other settings.
    """
    store = FeedbackStore(settings.feedback_dir)
    todo = left_to_ask(examples, store)
    known = known_dialect(settings).samples is not None
    if settings.generator.backend != "openai" or settings.feedback.max_calls is None or known or not todo:
        return Usage()
    store.keep_to(collection_settings(settings, task))
    # Whose query was the first may have been deleted since.
    first = next(iter(todo), None)
    if first is None:
        return Usage()
    requests = [request for request in make_request_writer(settings, task)(first).several if request.n > 1]
    budget = make_budget(settings.generator)

    async def ask() -> None:
        generator = make_generator(settings, open_cache(settings), budget=budget)
        try:
            for request in requests:
                await generator(request)
        finally:
            await generator.close()

    try:
        asyncio.run(ask())
    except (GenerateError, BudgetSpentError) as error:
        log.warning("how many calls samples take is not known: %s", error)
    return budget.spent


def with_less(settings: Settings, spent: Usage) -> Settings:
    """Settings whose limits are what is left of them."""
    limits = settings.generator.limits
    calls, tokens = spent.calls, spent.prompt_tokens + spent.completion_tokens
    cost = (spent.prompt_tokens * limits.price_in + spent.completion_tokens * limits.price_out) / 1e6
    left = {
        name: max(0, limit - used)
        for name, limit, used in (
            ("calls", limits.calls, calls),
            ("tokens", limits.tokens, tokens),
            ("cost", limits.cost, cost),
        )
        if limit is not None
    }
    if not left or not calls:
        return settings
    generator = settings.generator.model_copy(update={"limits": limits.model_copy(update=left)})
    return settings.model_copy(update={"generator": generator})
