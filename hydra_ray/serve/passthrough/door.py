"""Which requests are passed through, and for whom."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastapi.responses import Response
from starlette.requests import Request

from hydra_ray.methods.ports import Recipe
from hydra_ray.records import Answer, Candidate, Query, Usage
from hydra_ray.serve.http import protocol
from hydra_ray.serve.http.principal import Principal
from hydra_ray.serve.http.requests import PASSTHROUGH, ChatCompletionRequest, reasons_to_pass_through
from hydra_ray.serve.observe.trace import current_trace
from hydra_ray.serve.passthrough.response import Passed, pass_through
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import GenerateError
from hydra_ray.store.completions.records import PassedFor

log = logging.getLogger(__name__)


class PassThrough:
    """Hands requests to the LLM that no method can answer.

    Args:
        settings: Say whether that is done, and whether the LLM is told the user's history.
        recipe: Numbers of the methods: their candidates, and how much history is told.
        steps: Steps of all tenants.
        charge: Counts what an answer took.
    """

    def __init__(
        self, settings: Settings, recipe: Recipe, steps: RemoteSteps, charge: Callable[[Principal, Usage], None]
    ) -> None:
        self.is_open = settings.passes_through
        self._tells = settings.serve.passthrough.tell_history
        self._recipe, self._steps, self._charge = recipe, steps, charge
        self._most_words = settings.method.shot_words

    def reasons(self, asked: ChatCompletionRequest, method: str) -> tuple[str, ...]:
        """Return why the LLM gets a request as it is; none where a method answers it."""
        if not self.is_open:
            return ()
        wanted = ("method: passthrough is asked for",) if method == PASSTHROUGH else ()
        return (*wanted, *reasons_to_pass_through(asked, self._recipe))

    async def __call__(
        self,
        asked: ChatCompletionRequest,
        request: Request,
        caller: Principal,
        query: Query,
        reasons: tuple[str, ...],
        about: dict[str, Any],
        completion_id: str,
        keep: Callable[[Answer, PassedFor], None],
    ) -> Response:
        """The LLM's own answer to a request as it is.

        Args:
            asked: The request as it was read.
            request: The same as it came.
            caller: Principal of the request, who is charged.
            query: What the user says last, by which their history is looked up; nobody's where that may not be done.
            reasons: Why it is passed through.
            about: What else `hydra` says: version, and what was degraded.
            completion_id: Id that the answer has for the client, and in the completion log.
            keep: Has an answer kept there, with why it was passed through.
        """
        trace = current_trace()
        trace.method = PASSTHROUGH
        is_told = self._tells and bool(query.input) and not query.user.is_nobody

        def answered(texts: tuple[str, ...], usage: Usage) -> None:
            trace.head = "none"
            choices = tuple(Candidate(text, order=place) for place, text in enumerate(texts))
            answer = Answer(query.id, texts[0] if texts else "", (), choices, trace.degraded, usage=usage)
            # The same in every arm of an experiment: what only the LLM can answer is told apart from what an arm has
            # it answer.
            keep(answer, "form" if reasons_to_pass_through(asked, self._recipe) else "method")
            spent(usage)

        def spent(usage: Usage) -> None:
            trace.usage = usage
            self._charge(caller, usage)

        passed = Passed(
            completion_id,
            await request.json(),
            reasons,
            asked.n,
            asked.include_usage,
            query if is_told else None,
            {"user": caller.user_id, **about, "personalised": is_told},
            "users" in caller.scopes,
            answered,
            spent,
        )
        steps = replace(self._steps, tenant=caller.tenant)
        try:
            return await pass_through(passed, request, steps, self._recipe, self._most_words)
        except GenerateError as error:
            log.warning("the LLM gave no answer to a request that was passed through: %s", error)
            return protocol.no_answer(error)
