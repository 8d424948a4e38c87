"""The OpenAI-compatible front door: composes the deployments into the method that settings or a request name."""

# Without postponed annotations: Serve sends the class by value, and FastAPI would look in vain for the types' names.

import logging
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from ray import serve
from ray.serve.config import BackpressureConfig
from starlette.middleware import Middleware

from hydra_ray.logs import set_up_logging
from hydra_ray.methods import METHODS
from hydra_ray.methods.ports import StepError
from hydra_ray.models.base import read_about
from hydra_ray.records import NOBODY, Message, Query
from hydra_ray.runtime.factory import make_prompter, make_recipe
from hydra_ray.serve.http import protocol
from hydra_ray.serve.http.callers import named_user
from hydra_ray.serve.http.errors import RequestError, add_error_handlers
from hydra_ray.serve.http.ids import Id
from hydra_ray.serve.http.middleware import CaughtErrors, EncodedPaths, JsonRoute, Origins
from hydra_ray.serve.http.principal import Authenticate, Principal
from hydra_ray.serve.http.requests import ChatCompletionRequest
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.serve.user_rights import personalised
from hydra_ray.serve.users import UserEndpoints
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.seeds import stable_seed

log = logging.getLogger(__name__)


# The ingress only waits for the others: as many at once as generator and queue hold together.
@serve.deployment(
    max_ongoing_requests=96,
    max_queued_requests=256,
    backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
    ray_actor_options={"num_cpus": 0.2},
)
@serve.ingress()
class Ingress(UserEndpoints):
    """Answers chat completions in the way of the user whom `user` names, and learns from what users say of them.

    Args:
        settings: Method, task settings and time-outs.
        retriever: Handle, as the next three.
        reranker: Handle.
        generator: Handle.
        adapter: Handle.
        profiler: Handle.
        authenticate: Decides who a request is from.
    """

    def __init__(
        self,
        settings: Settings,
        retriever: Any,
        reranker: Any,
        generator: Any,
        adapter: Any,
        profiler: Any,
        authenticate: Authenticate,
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
        super().__init__(settings, task, steps, authenticate)
        ports, prompter, recipe = steps.ports(), make_prompter(settings, task), make_recipe(settings)
        self._methods = {name: make(ports, prompter, recipe) for name, make in METHODS.items()}

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the application that answers HTTP; Serve calls this when the replica is there."""
        app = FastAPI(title="hydra-ray", docs_url=None, redoc_url=None, middleware=self._middleware())
        app.state.max_body = int(self._settings.serve.max_body_mb * 1e6)
        add_error_handlers(app)
        router = APIRouter(route_class=JsonRoute)
        router.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])
        router.add_api_route("/v1/models", self.models, methods=["GET"])
        router.add_api_route("/v1/models/{model:path}", self.model, methods=["GET"])
        router.add_api_route("/healthz", self.healthz, methods=["GET"])
        app.include_router(router)
        app.include_router(self.user_routes())
        return app

    async def chat(self, asked: ChatCompletionRequest, request: Request) -> Response:
        """The user's own answer; `hydra` in the response says how it came about."""
        serve = self._settings.serve
        self._check_model(asked.model)
        asked.refuse_unsupported()
        caller = await self._authenticate(request.headers, named_user(serve.user_from, asked, request.headers))
        own, unknown = await personalised(self._store, caller.user)
        # Who does not want to be personalised is answered as nobody: nothing is looked up for them.
        asker = caller if own else replace(caller, user=None)
        query = self.as_query(asked.query, asker, asked.turns(self._task, serve.tell_system))
        method = asked.hydra.method or serve.method
        try:
            answer = await self._methods[method](query, asker.user)
        except (GenerateError, StepError) as error:
            log.warning("%s gave no answer: %s", method, error)
            return protocol.no_answer(error)
        ignored = asked.ignored(self._task, serve.tell_system, serve.user_from)
        answer = replace(answer, degraded=(*unknown, *answer.degraded))
        # Whether the caller may see the user's history and the candidates.
        hydra = protocol.about(answer, method, caller.user_id, ignored, personalised=own, detail=True)
        reply = answer, serve.model_name, asked.n, hydra
        if asked.stream:
            return StreamingResponse(protocol.stream(*reply, asked.include_usage), media_type="text/event-stream")
        return protocol.AsciiJSON(protocol.completion(*reply))

    async def models(self, request: Request) -> dict[str, Any]:
        """Answers with the list of models, which has one."""
        await self._authenticate(request.headers, None)
        return {"object": "list", "data": [self._model()]}

    async def model(self, model: Id, request: Request) -> dict[str, Any]:
        """Answers with the one model there is, if it has this name."""
        await self._authenticate(request.headers, None)
        self._check_model(model)
        return self._model()

    async def healthz(self) -> dict[str, str]:
        """Answers while this process lives; the other steps may be degraded."""
        return {"status": "ok"}

    def as_query(self, message: str, caller: Principal, turns: tuple[Message, ...] = ()) -> Query:
        """Return the request as a query. Its id depends on what was said only, so the same request samples alike."""
        text = self._task.query_text(message)
        seed = stable_seed(text, *(said for turn in turns for said in (turn.role, turn.content)))
        return Query(f"{seed:08x}", caller.user or NOBODY, text, turns=turns)

    def _middleware(self) -> list[Middleware]:
        """Return the middleware, outermost first: errors, too, are shown to pages of other origins."""
        origins = self._settings.serve.cors_origins
        cors = Middleware(
            Origins,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
        return [*([cors] if origins else []), Middleware(EncodedPaths), Middleware(CaughtErrors)]

    def _check_model(self, asked: str) -> None:
        name = self._settings.serve.model_name
        if asked != name:
            raise RequestError(f"there is no model {asked!r}; this is {name!r}", "model", "model_not_found", 404)

    def _model(self) -> dict[str, Any]:
        return {"id": self._settings.serve.model_name, "object": "model", "created": 0, "owned_by": "hydra-ray"}
