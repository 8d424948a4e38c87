"""Whether requests can be answered, and which steps answer: what `/readyz` says."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Literal

from fastapi.responses import Response
from ray.serve.exceptions import BackPressureError

from hydra_ray.methods.ports import StepError
from hydra_ray.records import NOBODY
from hydra_ray.serve.faults.calls import call_step, within
from hydra_ray.serve.faults.deadline import without_deadline
from hydra_ray.serve.http.protocol import AsciiJSON
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.store.protocol import Store

Found = Literal["answers", "fails"]
# Everybody may ask, and each look asks all steps: one look serves all who ask within this time.
_HOLDS_S = 1.0
_PATIENCE_S = 2.0
# A step that is too busy to say so is known by what it answered lately.
_LATELY_S = 30.0


class Readiness:
    """Looks whether store and steps answer.

    Args:
        store: Store of users.
        steps: Steps, with the breakers of what requests asked of them.
        keys_wanted: Whether nobody is let in without the store, since keys are looked up there.
    """

    def __init__(self, store: Store, steps: RemoteSteps, *, keys_wanted: bool) -> None:
        self._store, self._steps, self._keys_wanted = store, steps, keys_wanted
        self._looking = asyncio.Lock()
        self._looked_at = float("-inf")
        self._found: dict[str, Found] = {}
        self._open: frozenset[str] = frozenset()

    async def response(self, *, llm_needed: bool = True) -> Response:
        """Return what was found: 200 where requests can be answered, if need be without some steps; else 503.

        Args:
            llm_needed: Whether it is 503 where the generator's breaker is open, too. All replicas see the LLM fail, and
                what does without it (feedback, history, keys) is answered as before.
        """
        async with self._looking:
            if time.monotonic() - self._looked_at > _HOLDS_S:
                # What is found is everybody's: the asker's own deadline says nothing of the steps.
                with without_deadline():
                    self._found = await self._look()
                self._looked_at = time.monotonic()
            found = self._found
            let_off = frozenset() if llm_needed else self._open
        needed = {"generator", *(["store"] if self._keys_wanted else [])} - let_off
        if any(found[name] == "fails" for name in needed):
            return AsciiJSON({"status": "unavailable", "steps": found}, 503, {"Retry-After": "1"})
        return AsciiJSON({"status": "degraded" if "fails" in found.values() else "ready", "steps": found})

    async def _look(self) -> dict[str, Found]:
        steps = self._steps
        handles = {"retriever": steps.retriever, **steps.scoring, "generator": steps.generator}
        self._open = frozenset(name for name in handles if steps.breakers.of(name).state == "open")
        looks = (self._store_answers(), *(self._step_answers(name, handle) for name, handle in handles.items()))
        return dict(zip(("store", *handles), await asyncio.gather(*looks), strict=True))

    async def _store_answers(self) -> Found:
        async def look_up() -> bool:
            return await asyncio.to_thread(self._store.records.is_personalised, NOBODY)

        try:
            # Behind a breaker: a store that hangs would keep a thread for each look.
            await call_step("store", look_up, _PATIENCE_S, self._steps.breakers.of("store"))
        except StepError:
            return "fails"
        return "answers"

    async def _step_answers(self, name: str, handle: Any) -> Found:
        breaker = self._steps.breakers.of(name)
        # Half-open it wants a request to try it, and none comes to a replica that is not ready.
        if breaker.state == "open":
            return "fails"
        try:
            await within(name, handle.ready.remote, _PATIENCE_S)
        except StepError as error:
            is_busy = isinstance(error.__cause__, BackPressureError) or breaker.answered_within(_LATELY_S)
            return "answers" if is_busy else "fails"
        return "answers"
