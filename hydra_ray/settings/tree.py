"""The tree of settings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from hydra_ray.records import as_user_id
from hydra_ray.settings.data import DataSettings
from hydra_ray.settings.experiments import ExperimentSettings
from hydra_ray.settings.faults import BreakerSettings
from hydra_ray.settings.identity import AuthSettings, TenantSettings
from hydra_ray.settings.learning import BaseSettings, FeedbackSettings, FitSettings, GateSettings
from hydra_ray.settings.llm import GeneratorSettings
from hydra_ray.settings.logs import LoggingSettings
from hydra_ray.settings.method import EmbedderSettings, MethodSettings, PeerSettings, ProfileSettings
from hydra_ray.settings.observe import ObserveSettings
from hydra_ray.settings.passthrough import PassthroughSettings
from hydra_ray.settings.registry import RegistrySettings, absolute_url, user_cache
from hydra_ray.settings.section import Section
from hydra_ray.settings.storage import CompletionLogSettings, StoreSettings
from hydra_ray.store.connections.target import StoreTarget

# A header's name is a token of RFC 9110.
_USER_SOURCE = re.compile(r"user|safety_identifier|metadata\.\S(.*\S)?|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Files are named after tenants.
_LONGEST_TENANT = 64
_ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^\s/?#]+")


class ModelSettings(Section):
    """Where the trained base is."""

    dir: Path | None = Field(None, description="Folder of the base; null means <out>/model.")
    version: str | None = Field(
        None,
        description="Alias or version of the base that commands work on; null: candidate, or else production.",
    )


class EvaluateSettings(Section):
    """Settings of what is compared, and of how sure the comparison is."""

    methods: tuple[str, ...] = Field((), description="Empty means all methods.")
    tasks: tuple[str, ...] = Field((), description="For data.format lamp: tasks of data.dir; empty means data.task.")
    seeds: tuple[int, ...] = Field((), description="Of training: a base each, under out; empty uses model.dir's base.")
    train_users: tuple[PositiveInt, ...] = Field(
        (), description="Also train on so few users, with the first seed: how a gain depends on their number."
    )
    baselines: tuple[str, ...] = Field(
        (), description="Prompt-based methods that the headline compares with; empty means all that ran."
    )
    folds: int = Field(
        5, ge=2, description="Of users, by which the headline chooses among the baselines, and cross-validate trains."
    )
    repeats: int = Field(2, ge=1, description="For cross-validate: times that users are split into folds anew.")
    encodings_dir: Path | None = Field(None, description="For cross-validate: kept encodings; null: <out>/encodings.")
    workers: int = Field(1, ge=1, description="Processes that answer at once and share the generator's limits.")
    bootstrap: int = Field(
        10_000,
        ge=100,
        description="Resamples of users behind each interval; no p, before it is corrected, is below 2 in so many.",
    )
    curves: bool = Field(False, description="Also measure gain against calls a user and against length of history.")
    curve_calls: tuple[NonNegativeInt, ...] = Field(
        (0, 5, 10, 20, 50, 100), min_length=1, description="LLM calls a user within which heads are fitted."
    )
    curve_history: tuple[NonNegativeInt, ...] = Field(
        (0, 1, 5, 10, 20), min_length=1, description="Latest items to which histories are cut."
    )
    curve_history_calls: int = Field(20, ge=0, description="LLM calls a user at each length of history.")

    @model_validator(mode="after")
    def _curves_are_of_one_base(self) -> EvaluateSettings:
        if self.curves and (self.tasks or self.seeds or self.train_users):
            raise ValueError("curves are measured with the base in model.dir: leave out tasks, seeds and train_users")
        return self


class ServeSettings(Section):
    """The Serve application."""

    method: str = Field("hydra", description="What answers, unless a request names another method.")
    model_name: str = Field("hydra", description="The name clients ask for.")
    step_timeout_s: float = Field(
        10, gt=0, description="A retriever, reranker, adapter or profiler slower than this is done without."
    )
    generator_timeout_s: float = Field(120, gt=0, description="An LLM slower than this fails the request.")
    timeout_s: float = Field(180, gt=0, description="Longest time for a request; X-Request-Timeout asks for less.")
    breaker: BreakerSettings = BreakerSettings()
    head_cache_mb: int = Field(256, ge=0, description="Users' heads that a reranker or adapter keeps in memory.")
    encoding_cache_mb: int = Field(
        256, ge=0, description="Encodings of texts that a reranker or adapter keeps in memory, 2 KB each."
    )
    store_encodings: bool = Field(
        True, description="Fits and replicas keep the encodings of users' items beside the history, for others to read."
    )
    user_from: tuple[str, ...] = Field(
        ("user",),
        min_length=1,
        description="What names the user, the first one sent: user, safety_identifier, metadata.FIELD or header:NAME.",
    )
    tell_system: bool = Field(
        True, description="Tell the LLM a client's system messages for tasks other than chat, too."
    )
    sampling: Literal["deployment", "client"] = Field(
        "deployment", description="Whose temperature the samples have; at a client's 0 there is one candidate only."
    )
    max_tokens: int = Field(4096, ge=1, description="Longest answer that a client may ask for, in the LLM's tokens.")
    cors_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages browsers let ask, e.g. https://app.example.com; [*] is every page."
    )
    max_body_mb: float = Field(8, gt=0, description="Requests with a larger body are refused.")
    key_cache_s: float = Field(
        1, ge=0, description="For so long a replica remembers an API key: a revocation holds that much later."
    )
    switch_poll_s: float = Field(
        0.5, gt=0, description="Seconds between two looks at the switch of personalisation (docs/experiments.md)."
    )
    experiment: ExperimentSettings = ExperimentSettings()

    passthrough: PassthroughSettings = PassthroughSettings()
    completions: CompletionLogSettings = CompletionLogSettings()
    ratings: Literal["thumbs", "stars"] = Field(
        "thumbs",
        description="What a rating is: thumbs: -1 or 1; stars: 1 to 5, of which 4 and 5 are good, 3 is neither.",
    )
    feedback_days: float = Field(14, gt=0, description="For so many days users may say what they think of an answer.")

    @field_validator("user_from")
    @classmethod
    def _are_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            if not _USER_SOURCE.fullmatch(source):
                raise ValueError(f"{source!r} is none of user, safety_identifier, metadata.FIELD and header:NAME")
        return sources

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            # Browsers send an origin without a path, so one with a slash at the end would never match.
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin: write https://app.example.com, without a path, or *")
        return origins

    @model_validator(mode="after")
    def _completions_last(self) -> ServeSettings:
        if self.completions.enabled and self.feedback_days > self.completions.days:
            raise ValueError(
                f"feedback_days: {self.feedback_days:g} days after an answer nothing is known of it: "
                f"completions.days is {self.completions.days:g}"
            )
        return self

    index_cache_mb: int = Field(
        512, ge=0, description="Users' histories, with their search indexes, that a retriever keeps in memory."
    )


class RaySettings(Section):
    """The Ray cluster."""

    address: str | None = Field(None, description="null starts one on this machine; auto finds a running one.")
    num_cpus: int | None = Field(
        None,
        ge=1,
        description="Logical CPUs of a cluster started here; null: those of the machine or container, and one.",
    )


class Settings(Section):
    """All settings of hydra-ray."""

    preset: str = Field("", description="Settings that the file's own go over: paper is HYDRA's published recipe.")
    seed: int = Field(0, description="Of all that is drawn: users, pseudo-queries, samples, and training.")
    tenant: str = Field("default", description="Whose users these are; records may name another.")
    out: Path = Field(Path("runs/default"), description="Results, and what has no place of its own.")
    users: str = Field("train", description="Whose feedback or heads: train, dev or a file of user ids, one a line.")
    data: DataSettings = DataSettings()
    generator: GeneratorSettings = GeneratorSettings()
    base: BaseSettings = BaseSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    gate: GateSettings = GateSettings()
    fit: FitSettings = FitSettings()
    method: MethodSettings = MethodSettings()
    embedder: EmbedderSettings = EmbedderSettings()
    peers: PeerSettings = PeerSettings()
    profile: ProfileSettings = ProfileSettings()
    model: ModelSettings = ModelSettings()
    registry: RegistrySettings = RegistrySettings()
    store: StoreSettings = StoreSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    serve: ServeSettings = ServeSettings()
    auth: AuthSettings = AuthSettings()
    tenants: dict[str, TenantSettings] = Field(
        {}, description="Tenants that are served beside `tenant`, and what differs for each: {acme: {method: rag}}."
    )
    ray: RaySettings = RaySettings()
    logging: LoggingSettings = LoggingSettings()
    observe: ObserveSettings = ObserveSettings()

    @model_validator(mode="after")
    def _data_has_a_place(self) -> Settings:
        if self.data.format == "lamp" and self.data.path is not None:
            raise ValueError(
                "data.path belongs to data.format=records, reviews and chat; LaMP files are found by data.dir"
            )
        if self.data.format in ("records", "reviews", "chat") and self.data.path is None:
            raise ValueError(f"data.format={self.data.format} needs data.path")
        if self.data.format == "reviews" and self.data.items is None:
            raise ValueError("data.format=reviews needs data.items: the metadata of what was reviewed")
        return self

    @field_validator("tenants")
    @classmethod
    def _tenants_have_names(cls, tenants: dict[str, TenantSettings]) -> dict[str, TenantSettings]:
        for name in tenants:
            try:
                is_id = as_user_id(name) == name
            except ValueError:
                is_id = False
            if not is_id or len(name) > _LONGEST_TENANT:
                raise ValueError(
                    f"{name!r} is no name: write 1 to {_LONGEST_TENANT} letters without blanks around them"
                )
        return tenants

    @property
    def served_tenants(self) -> tuple[str, ...]:
        """Names of all tenants that are served: the deployment's own, and those of `tenants`."""
        return (self.tenant, *(name for name in self.tenants if name != self.tenant))

    @property
    def personal(self) -> bool:
        """Whether users of `tenant` get answers of their own."""
        return self.tenants.get(self.tenant, TenantSettings()).personal

    def of_tenant(self, tenant: str) -> Settings:
        """Return the settings as they are for one tenant."""
        own = self.tenants.get(tenant, TenantSettings())
        serve = {name: value for name in ("method", "tell_system") if (value := getattr(own, name)) is not None}
        sharing = [name for name in self.served_tenants if self._shares(name)]
        sharing += [name for name in self.peers.tenants if name not in self.served_tenants]
        return self.model_copy(
            update={
                "tenant": tenant,
                "serve": self.serve.model_copy(update=serve),
                "peers": self.peers.model_copy(update={"tenants": tuple(sharing)}),
                "auth": self.auth.model_copy(update={"limits": own.limits or self.auth.limits}),
            }
        )

    def _shares(self, tenant: str) -> bool:
        shares = self.tenants.get(tenant, TenantSettings()).share_with_peers
        return tenant in self.peers.tenants if shares is None else shares

    @property
    def of_training_users(self) -> bool:
        """Whether the chosen users' real queries may be used with their answers."""
        return self.users == "train" or (self.users != "dev" and self.data.split == "train")

    def anchored(self) -> Settings:
        """The same with absolute paths, for processes of a cluster that may have been started in another folder."""
        g = self.generator
        files = [g, *g.fallbacks]
        keys = [one.model_copy(update={"api_key_file": _absolute(one.api_key_file)}) for one in files]
        # Not the model's: kept answers are known by its name as it is written.
        generator = keys[0].model_copy(update={"fallbacks": tuple(keys[1:]), "cache": self.answers_dir.resolve()})
        model = self.model.model_copy(update={"dir": self.model_dir.resolve()})
        # A URL that is not told stays so, since only then a store of an earlier layout is looked for.
        url = self.store.url and _absolute_store(self.store.url)
        store = self.store.model_copy(update={"url": url, "password_file": _absolute(self.store.password_file)})
        feedback = self.feedback.model_copy(update={"dir": self.feedback_dir.resolve()})
        registry = self.registry.model_copy(
            update={"url": absolute_url(self.registry_url), "cache": self.registry_cache.resolve()}
        )
        key_file = _absolute(self.serve.experiment.key_file)
        experiment = self.serve.experiment.model_copy(update={"key_file": key_file})
        anchored = {
            "serve": self.serve.model_copy(update={"experiment": experiment}),
            "out": self.out.resolve(),
            "generator": generator,
            "model": model,
            "registry": registry,
            "store": store,
            "feedback": feedback,
        }
        return self.model_copy(update=anchored)

    @property
    def model_dir(self) -> Path:
        """Folder of the trained base."""
        return self.model.dir or self.out / "model"

    @property
    def feedback_dir(self) -> Path:
        """Folder of the collected feedback."""
        return self.feedback.dir or self.out / "feedback"

    @property
    def answers_dir(self) -> Path:
        """Folder of the LLM's answers that offline commands have paid for."""
        return self.generator.cache or self.out / "answers"

    @property
    def encodings_dir(self) -> Path:
        """Folder of encodings that cross-validation keeps."""
        return self.evaluate.encodings_dir or self.out / "encodings"

    @property
    def passes_through(self) -> bool:
        """Whether the LLM gets as it is what personal choice cannot serve; a model in this process takes texts only."""
        return self.serve.passthrough.enabled and self.generator.backend in ("openai", "vllm")

    @property
    def registry_url(self) -> str:
        """Folder or URI of the registry of models."""
        return self.registry.url or str(self.model_dir / "registry")

    @property
    def registry_cache(self) -> Path:
        """Folder of this machine for versions of a registry that is elsewhere."""
        return self.registry.cache or user_cache() / "models"

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the users' store, without what `store_target` adds."""
        return self.store.url or f"sqlite:///{self.out / 'users.db'}"

    @property
    def store_target(self) -> StoreTarget:
        """The users' store, as `open_store` and `open_database` take it."""
        store = self.store
        former = self.model_dir / "users.db" if store.url is None else None
        return StoreTarget(self.store_url, store.password_file, store.password_env, store.max_connections, former)


def _absolute(path: Path | None) -> Path | None:
    return path.resolve() if path else None


def _absolute_store(url: str) -> str:
    kind, found, path = url.partition(":///")
    if not found or not kind.startswith("sqlite") or path in ("", ":memory:") or path.startswith("file:"):
        return url
    return f"{kind}:///{Path(path).resolve()}"
