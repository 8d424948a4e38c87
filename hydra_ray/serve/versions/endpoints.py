"""The models that are served: listed over HTTP, and found for requests that name one."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from fastapi import APIRouter, Request

from hydra_ray.methods.ports import StepError
from hydra_ray.registry import Manifest, UnreachableError
from hydra_ray.serve.admit import Admit
from hydra_ray.serve.experiment.assignments import Assignment
from hydra_ray.serve.faults.deadline import left_s
from hydra_ray.serve.http.errors import RequestError
from hydra_ray.serve.http.ids import Id
from hydra_ray.serve.http.middleware import JsonRoute
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.serve.versions.bases import ServedBase, ServedBases
from hydra_ray.serve.versions.names import ServedNames, UnknownModelError

log = logging.getLogger(__name__)


class ModelEndpoints:
    """The part of the ingress that is about versions of the base.

    Args:
        names: Names by which requests ask for versions.
        bases: Versions with their methods.
        steps: Steps, whose reranker and adapter load what a request names.
        load_s: Longest wait for a version to be loaded, in seconds.
        admit: Lets requests in.
    """

    def __init__(self, names: ServedNames, bases: ServedBases, steps: RemoteSteps, load_s: float, admit: Admit) -> None:
        self._names, self._bases, self._steps, self._load_s, self._admit = names, bases, steps, load_s, admit

    def routes(self) -> APIRouter:
        """Return the routes."""
        router = APIRouter(route_class=JsonRoute)
        router.add_api_route("/v1/models", self.models, methods=["GET"])
        router.add_api_route("/v1/models/{model:path}", self.model, methods=["GET"])
        return router

    async def models(self, request: Request) -> dict[str, Any]:
        """Answers with the list of models: what is served, the candidate, and every version of the same task."""
        await self._admit(request, None)
        try:
            found = await asyncio.to_thread(self._names.all)
        except UnreachableError as error:
            log.warning("models cannot be listed", exc_info=error)
            raise RequestError(
                "the registry of models does not answer: ask again", status=503, kind="server_error"
            ) from None
        return {"object": "list", "data": [_model(name, created) for name, created in found]}

    async def model(self, model: Id, request: Request) -> dict[str, Any]:
        """Answers with the model of this name, if there is one."""
        await self._admit(request, None)
        manifest = await self._find(model)
        return _model(model, manifest.created_s)

    async def base_for(self, asked: str, arm: Assignment) -> tuple[ServedBase, tuple[str, ...]]:
        """Return the version that answers, and what was done without.

        Args:
            asked: Name of the model, as the request says it.
            arm: Arm of the request. Where its version cannot answer, the one served does.

        Raises:
            RequestError: There is no such model, or the registry does not answer.
            StepError: Reranker or adapter do not load the version.
        """
        if arm.version is None:
            return await self._base_of(asked, self._load_s), ()
        try:
            # As long as a step may take: the version that is served needs the rest.
            load_s = min(self._steps.step_timeout_s, 0.5 * left_s())
            return await self._base_of(self._names.name_of(arm.version), load_s), ()
        except (StepError, RequestError) as error:
            message = "version %s of arm %s cannot answer, and the one served does"
            log.warning(message, arm.version, arm.arm, exc_info=error)
            return await self._base_of(asked, self._load_s), ("experiment",)

    async def _base_of(self, asked: str, load_s: float) -> ServedBase:
        """The version that a request names, once reranker and adapter hold it."""
        manifest = await self._find(asked)
        version = manifest.version
        if not self._names.is_held(version):
            await self._steps.at(version).prepare(load_s)
        return self._bases.of(manifest)

    async def _find(self, asked: str) -> Manifest:
        at_hand = self._names.at_hand(asked)
        if at_hand is not None:
            return at_hand
        try:
            return await asyncio.to_thread(self._names.find, asked)
        except UnknownModelError as error:
            raise RequestError(str(error), "model", "model_not_found", 404) from None
        except UnreachableError as error:
            log.warning("model %s cannot be looked up", asked, exc_info=error)
            raise RequestError(
                "the registry of models does not answer: ask again", "model", status=503, kind="server_error"
            ) from None


def _model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "hydra-ray"}
