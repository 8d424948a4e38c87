"""The OpenAI-compatible front door: composes the deployments into the method that settings or a request name."""

# Without postponed annotations: Serve sends the class by value, and FastAPI would look in vain for the types' names.

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from ray import serve
from ray.serve.config import BackpressureConfig
from starlette.middleware import Middleware

from hydra_ray.logs import set_up_logging
from hydra_ray.methods.ports import StepError
from hydra_ray.records import NOBODY, Answer, Message, Query, Usage
from hydra_ray.runtime.factory import make_recipe
from hydra_ray.runtime.models import open_catalog
from hydra_ray.serve.admin import AdminEndpoints
from hydra_ray.serve.admit import Admit
from hydra_ray.serve.completions.recorded import Begun
from hydra_ray.serve.completions.writer import CompletionWriter
from hydra_ray.serve.ending import ending
from hydra_ray.serve.experiment.assignments import Assignments, read_key
from hydra_ray.serve.experiment.endpoints import SwitchEndpoints
from hydra_ray.serve.experiment.standing import Personalisation
from hydra_ray.serve.experiment.switch import WatchedSwitch
from hydra_ray.serve.faults.breaker import Breakers
from hydra_ray.serve.faults.deadline import Deadlines
from hydra_ray.serve.faults.ready import Readiness
from hydra_ray.serve.feedback.endpoint import FeedbackById
from hydra_ray.serve.feedback.notes import Notes
from hydra_ray.serve.handles import own_handle
from hydra_ray.serve.http import protocol
from hydra_ray.serve.http.callers import named_user
from hydra_ray.serve.http.errors import add_error_handlers
from hydra_ray.serve.http.guard import Guard
from hydra_ray.serve.http.middleware import CaughtErrors, EncodedPaths, JsonRoute, Origins
from hydra_ray.serve.http.principal import Authenticate, Principal
from hydra_ray.serve.http.request_ids import RequestIds
from hydra_ray.serve.http.requests import PASSTHROUGH, ChatCompletionRequest
from hydra_ray.serve.limits.client import LimiterClient
from hydra_ray.serve.observe.metrics import metrics_of
from hydra_ray.serve.observe.middleware import Observed
from hydra_ray.serve.observe.names import COMPLETIONS_LOST, ENCODINGS_DROPPED, LIMITER_FAILURES
from hydra_ray.serve.observe.observer import make_observer
from hydra_ray.serve.observe.trace import current_trace
from hydra_ray.serve.openapi.document import complete
from hydra_ray.serve.passthrough.door import PassThrough
from hydra_ray.serve.ports import RemoteSteps
from hydra_ray.serve.streaming.listening import while_listening
from hydra_ray.serve.streaming.response import Streamed, streamed
from hydra_ray.serve.streaming.saying import Saying
from hydra_ray.serve.users import UserEndpoints
from hydra_ray.serve.versions.bases import ServedBases
from hydra_ray.serve.versions.endpoints import ModelEndpoints
from hydra_ray.serve.versions.names import ServedNames
from hydra_ray.settings import Settings
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.seeds import stable_seed
from hydra_ray.store.audit import AuditLog
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.completions.records import PassedFor
from hydra_ray.store.identity.key_store import SqlKeyStore
from hydra_ray.store.rights.switches import Switches
from hydra_ray.store.schema import open_database
from hydra_ray.tasks import Task

log = logging.getLogger(__name__)

_PARTS, _COUNTED = ("limit", "remaining", "reset"), ("requests", "tokens")


# The ingress only waits for the others. Each request asks the generator once a prompt, and all of them find room in its
# queue: who is let in is not refused later (`limits/fitting.py`). As many wait; the next is refused at once.
@serve.deployment(
    max_ongoing_requests=32,
    max_queued_requests=32,
    backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
    ray_actor_options={"num_cpus": 0.2},
)
@serve.ingress()
class Ingress(UserEndpoints):
    """Answers chat completions in the way of the user whom `user` names, and learns from what users say of them.

    Args:
        settings: Method, task settings and time-outs.
        retriever: Handle of the retriever's deployment.
        reranker: Handle of the reranker's deployment; None where there is none.
        generator: Handle of the generator's deployment.
        adapter: Handle of the adapter's deployment.
        profiler: Handle of the profiler's deployment.
        authenticate: Decides who a request is from.
        limiter: Handle of the limiter; None where there are no quotas.
        refitter: Handle of what fits heads again; None where nothing does.
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
        limiter: Any,
        refitter: Any,
    ) -> None:
        set_up_logging(settings.logging)
        self._names = ServedNames(open_catalog(settings), settings.serve.model_name, settings.registry.poll_s)
        steps = RemoteSteps(
            own_handle(retriever),
            own_handle(reranker),
            own_handle(generator),
            own_handle(adapter),
            settings.serve.step_timeout_s,
            settings.serve.generator_timeout_s,
            own_handle(profiler),
            settings.tenant,
            None,
            Breakers(settings.serve.breaker.failures, settings.serve.breaker.open_s),
            encodes_ahead=settings.serve.encoding_cache_mb > 0,
        )
        self._authenticate, self._recipe = authenticate, make_recipe(settings)
        self._metrics = metrics_of(settings)
        self._tenants = {name: settings.of_tenant(name) for name in settings.served_tenants}
        database = open_database(settings.store_target)
        counting = None
        if limiter is not None:
            failed = partial(self._metrics.note, LIMITER_FAILURES)
            counting = LimiterClient(own_handle(limiter).count.remote, settings.serve.step_timeout_s, failed)
        admit = Admit(self._tenants, counting)
        serving = self._names.production
        completions = CompletionLog(database)
        lost = partial(self._metrics.note, COMPLETIONS_LOST)
        super().__init__(
            settings,
            serving.task,
            steps,
            admit,
            AuditLog(database),
            lambda: self._names.production.version,
            Notes(
                own_handle(refitter),
                steps,
                settings.serve.step_timeout_s,
                partial(self._metrics.note, ENCODINGS_DROPPED),
            ),
            CompletionWriter(completions, settings.serve.completions, lost),
        )
        self._readiness = Readiness(self._store, steps, keys_wanted=settings.auth.mode != "off")
        self._admin = AdminEndpoints(SqlKeyStore(database), admit)
        experiment, switches = settings.serve.experiment, Switches(database)
        self._switch = WatchedSwitch(switches, settings.serve.switch_poll_s)
        self._switch_endpoints = SwitchEndpoints(switches, admit)
        drawn = Assignments(experiment, read_key(experiment))
        self._personalisation = Personalisation(self._tenants, self._store, steps, self._switch, drawn)
        self._pass_through = PassThrough(settings, self._recipe, steps, admit.charge)
        bases = ServedBases(steps, settings, self._recipe, self._tenants)
        self._models = ModelEndpoints(self._names, bases, steps, settings.serve.generator_timeout_s, admit)
        self._feedback = FeedbackById(
            settings, serving.task, completions, self._completions, admit, self._store, self._teach
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the application that answers HTTP; Serve calls this when the replica is there."""
        app = FastAPI(
            title="hydra-ray", docs_url=None, redoc_url=None, middleware=self._middleware(), lifespan=self._lifespan
        )
        app.state.max_body = int(self._settings.serve.max_body_mb * 1e6)
        add_error_handlers(app)
        router = APIRouter(route_class=JsonRoute)
        router.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])
        router.add_api_route("/healthz", self.healthz, methods=["GET"])
        router.add_api_route("/readyz", self.readyz, methods=["GET"])
        app.include_router(router)
        app.include_router(self._models.routes())
        app.include_router(self.user_routes())
        app.include_router(self._feedback.routes())
        app.include_router(self._admin.routes())
        app.include_router(self._switch_endpoints.routes())
        complete(app)
        return app

    async def chat(self, asked: ChatCompletionRequest, request: Request) -> Response:
        """The user's own answer; `hydra` in the response says how it came about."""
        begun = Begun()
        asked.refuse_unsupported(self._recipe, passes=self._pass_through.is_open)
        user_from = self._settings.serve.user_from
        caller = await self._admit(request, named_user(user_from, asked, request.headers))
        chosen = asked.hydra.method is not None or asked.model != self._settings.serve.model_name
        standing = await self._personalisation.of(caller, begun.id, chosen=chosen)
        arm = standing.assignment
        try:
            # Once: a promotion while the request is under way is for the next one.
            base, without = await self._models.base_for(asked.model, arm)
        except StepError as error:
            return protocol.no_answer(error)
        serve = self._tenants[caller.tenant].serve
        # Who is not to be personalised is answered as nobody: nothing is looked up for them.
        asker = caller if standing.personal else replace(caller, user=None)
        method = asked.hydra.method or arm.method or serve.method
        trace = current_trace()
        trace.method, trace.version = method, base.version
        trace.arm, trace.propensity = arm.arm, arm.propensity

        def keep(query: Query, answer: Answer, method: str, passed_for: PassedFor | None = None) -> None:
            """Has an answer written into the completion log."""
            completion = begun.answered(
                caller,
                query,
                answer,
                method,
                base.version,
                request_id=request.state.request_id,
                # Whom an arm does not personalise is compared with the others all the same.
                personalised=standing.wanted,
                streamed=asked.stream,
                arm=arm.logged,
                propensity=arm.propensity,
                passed_for=passed_for,
            )
            self._completions.put(completion)

        # The user's history and the candidates are for who may see the user's data.
        detail = "users" in caller.scopes
        if reasons := self._pass_through.reasons(asked, method):
            about: dict[str, Any] = {"version": base.version, "degraded": [*standing.degraded, *without]}
            about |= {"arm": arm.arm, "propensity": arm.propensity} if detail else {}
            own = self.as_query(asked.own_text, asker, base.task)
            return await self._pass_through(
                asked,
                request,
                caller,
                self.as_query(asked.last_text, asker, base.task),
                reasons,
                about,
                begun.id,
                lambda answer, passed_for: keep(own, answer, PASSTHROUGH, passed_for),
            )
        query = self.as_query(asked.query, asker, base.task, asked.turns(base.task, serve.tell_system))
        query = replace(query, wishes=asked.wishes(serve))
        model = self._names.name_of(base.version)

        async def answered(answer: Answer) -> tuple[Answer, dict[str, Any]]:
            """Counts and records an answer that is whole, and says how it came about."""
            self._admit.charge(caller, answer.usage)
            ignored = asked.ignored(base.task, serve, answer.ignored)
            answer = replace(answer, degraded=(*standing.degraded, *without, *answer.degraded))
            keep(query, answer, method)
            trace.note_answer(answer)
            return answer, protocol.about(
                answer,
                method,
                caller.user_id,
                ignored,
                base.version,
                personalised=standing.personal,
                arm=(arm.arm, arm.propensity),
                detail=detail,
            )

        def broken_off(usage: Usage) -> None:
            """Counts what an answer has cost that nobody gets."""
            trace.usage = usage
            self._admit.charge(caller, usage)

        try:
            if asked.stream:
                streaming = Streamed(begun.id, model, asked.n, asked.include_usage, answered, broken_off)
                saying = Saying(replace(self._steps, tenant=caller.tenant).stream)
                making = base.make(caller.tenant, method, saying)(query, standing.head(asker.user))
                making = protocol.unless_filtered(making, query)
                return await while_listening(request, streamed(making, saying, streaming))
            making = protocol.unless_filtered(
                base.methods[caller.tenant, method](query, standing.head(asker.user)), query
            )
            answer, hydra = await answered(await while_listening(request, making))
        except (GenerateError, StepError) as error:
            log.warning("%s gave no answer: %s", method, error)
            return protocol.no_answer(error)
        return protocol.AsciiJSON(protocol.completion(begun.id, answer, model, asked.n, hydra))

    async def healthz(self) -> dict[str, str]:
        """Answers while this process lives; the other steps may be degraded."""
        return {"status": "ok"}

    async def readyz(self, llm: Literal["needed", "optional"] = "needed") -> Response:
        """Answers whether requests can be answered, and which steps answer; 503 where requests cannot."""
        return await self._readiness.response(llm_needed=llm == "needed")

    def as_query(self, message: str, caller: Principal, task: Task, turns: tuple[Message, ...] = ()) -> Query:
        """Return the request as a query. Its id depends on what was said only, so the same request samples alike."""
        text = task.query_text(message)
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
            expose_headers=[
                "Retry-After",
                "X-Request-ID",
                *(f"x-ratelimit-{part}-{what}" for part in _PARTS for what in _COUNTED),
            ],
        )
        guard = Middleware(Guard, self._authenticate)
        deadlines = Middleware(Deadlines, self._settings.serve.timeout_s)
        return [
            Middleware(RequestIds),
            *([cors] if origins else []),
            Middleware(Observed, make_observer(self._settings, self._metrics, self._steps.breakers)),
            Middleware(EncodedPaths),
            Middleware(CaughtErrors),
            deadlines,
            guard,
        ]

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Begins with nothing; at the end, which Serve waits for, what was answered is written down."""
        yield
        await asyncio.to_thread(self._completions.close)

    def __del__(self) -> None:
        if hasattr(self, "_names"):
            ending(self._names.close)
        if hasattr(self, "_completions"):
            ending(self._completions.close)
        if hasattr(self, "_switch"):
            ending(self._switch.close)
