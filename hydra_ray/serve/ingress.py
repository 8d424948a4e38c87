"""The OpenAI-compatible front door: composes the deployments into the method that settings or a request name."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from ray import serve
from ray.serve.config import BackpressureConfig
from sqlalchemy.exc import SQLAlchemyError

from hydra_ray.learn.assembly import make_prompter, make_recipe
from hydra_ray.logs import set_up_logging
from hydra_ray.methods import METHODS
from hydra_ray.methods.ports import StepError
from hydra_ray.models.base import read_about
from hydra_ray.records import Message, Query, UserKey
from hydra_ray.serve import protocol
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.serve.users import EncodedPaths, UserEndpoints, router
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.seeds import stable_seed

app = FastAPI(title="hydra-ray", docs_url=None, redoc_url=None)
app.add_middleware(EncodedPaths)
app.include_router(router)


@app.exception_handler(RequestValidationError)
async def _bad_request(request: Request, error: RequestValidationError) -> JSONResponse:
    fields = "; ".join(f"{'.'.join(map(str, e['loc'][1:]))}: {e['msg']}" for e in error.errors())
    return protocol.refusal(400, fields, "invalid_request_error")


@app.exception_handler(SQLAlchemyError)
async def _store_down(request: Request, error: SQLAlchemyError) -> JSONResponse:
    return protocol.refusal(503, "the store of users did not do as asked: ask again", "upstream_error")


# The ingress only waits for the others: as many at once as generator and queue hold together.
@serve.deployment(
    max_ongoing_requests=96,
    max_queued_requests=256,
    backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
    ray_actor_options={"num_cpus": 0.2},
)
@serve.ingress(app)
class Ingress(UserEndpoints):
    """Answers chat completions in the way of the user whom `user` names, and learns from what users say of them.

    Args:
        settings: Method, task settings and time-outs.
        retriever: Handle, as the next three.
        reranker: Handle.
        generator: Handle.
        adapter: Handle.
        profiler: Handle.
    """

    def __init__(
        self, settings: Settings, retriever: Any, reranker: Any, generator: Any, adapter: Any, profiler: Any
    ) -> None:
        set_up_logging(settings.logging)
        _, task = read_about(settings.model_dir / "base")
        steps = RemoteSteps(
            retriever,
            reranker,
            generator,
            adapter,
            settings.serve.step_timeout_s,
            settings.serve.generator_timeout_s,
            profiler,
        )
        super().__init__(settings, task, steps)
        ports, prompter, recipe = steps.ports(), make_prompter(settings, task), make_recipe(settings)
        self._methods = {name: make(ports, prompter, recipe) for name, make in METHODS.items()}

    @app.post("/v1/chat/completions")
    async def chat(self, request: protocol.ChatCompletionRequest) -> Response:
        """The user's own answer; `hydra` in the response says how it came about."""
        name = self._settings.serve.model_name
        if request.model != name:
            return protocol.refusal(
                404, f"there is no model {request.model!r}; this is {name!r}", "invalid_request_error"
            )
        if request.query is None:
            return protocol.refusal(400, "messages: there is no user message with text", "invalid_request_error")
        try:
            query = self.as_query(request.query, request.user, request.turns(self._task))
        except ValueError as error:
            return protocol.refusal(400, str(error), "invalid_request_error")
        method = request.hydra.method or self._settings.serve.method
        try:
            answer = await self._methods[method](query, query.user)
        except (GenerateError, StepError) as error:
            return protocol.no_answer(error)
        if request.stream:
            return StreamingResponse(protocol.stream(answer, name, request.n, method), media_type="text/event-stream")
        return JSONResponse(protocol.completion(answer, name, request.n, method))

    @app.get("/v1/models")
    async def models(self) -> dict[str, Any]:
        """The one model there is."""
        model = {"id": self._settings.serve.model_name, "object": "model", "created": 0, "owned_by": "hydra-ray"}
        return {"object": "list", "data": [model]}

    @app.get("/healthz")
    async def healthz(self) -> dict[str, str]:
        """Whether this process lives; the other steps may be degraded."""
        return {"status": "ok"}

    def as_query(self, message: str, user: str | None, turns: tuple[Message, ...] = ()) -> Query:
        """The request as a query. Its id depends on what was said only, so the same request samples alike."""
        text = self._task.query_text(message)
        key = UserKey(self._settings.tenant, user or "")
        seed = stable_seed(text, *(said for turn in turns for said in (turn.role, turn.content)))
        return Query(f"{seed:08x}", key, text, turns=turns)
