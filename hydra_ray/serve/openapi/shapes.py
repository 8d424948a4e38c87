"""Shapes of what the endpoint answers, for its OpenAPI document; tests hold real answers against them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, RootModel


class Shape(BaseModel):
    """An answer with these fields and no others."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(Shape):
    """What is wrong: in words, by OpenAI's kind, at which parameter, and as a word for programs."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(Shape):
    """Every error of every route."""

    error: ErrorBody


class PromptTokens(Shape):
    """Tokens in, in detail; 0 where the LLM does not tell."""

    cached_tokens: int


class CompletionTokens(Shape):
    """Tokens out, in detail; 0 where the LLM does not tell."""

    reasoning_tokens: int


class TokenUsage(Shape):
    """Tokens of all candidates together."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokens
    completion_tokens_details: CompletionTokens


class AssistantMessage(Shape):
    """An answer."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None


class CompletionChoice(Shape):
    """One of the choices."""

    index: int
    message: AssistantMessage
    finish_reason: str
    logprobs: None


class GateObject(Shape):
    """Which answer the gate gave, and the gain that hydra's choice could be expected to bring."""

    answered: str
    gain: float
    low: float


class HydraObject(BaseModel):
    """How an answer came about; with lists `history` and `candidates` for who may see the user's data."""

    model_config = ConfigDict(extra="allow")

    method: str
    user: str | None
    version: str
    personalised: bool
    head: str
    gate: GateObject | None
    degraded: list[str]
    truncated: int
    ignored: list[str]


class ChatCompletion(Shape):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: TokenUsage
    hydra: HydraObject


class PassedHydra(BaseModel):
    """Why the LLM answered a request as it was."""

    model_config = ConfigDict(extra="allow")

    method: Literal["passthrough"]
    reason: str
    user: str | None
    version: str
    personalised: bool
    head: str
    degraded: list[str]
    llm_id: str | None


class PassedThrough(BaseModel):
    """The LLM's own answer, as it came but for its id, which is `hydra.llm_id`."""

    model_config = ConfigDict(extra="allow")

    id: str
    hydra: PassedHydra


class ChatAnswer(RootModel[ChatCompletion | PassedThrough]):
    """An answer of a method, or the LLM's own."""


class ChunkDelta(Shape):
    """What a chunk adds to a choice."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: str | None = None


class ChunkChoice(Shape):
    """A choice, as far as a chunk tells of it."""

    index: int
    delta: ChunkDelta
    finish_reason: str | None
    logprobs: None


class ChatCompletionChunk(Shape):
    """The data of one event of a streamed answer; `[DONE]` ends them."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: TokenUsage | None = None
    hydra: HydraObject | None = None


class ModelShape(Shape):
    """A version of the base, or an alias of one."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Shape):
    """All of them, aliases first."""

    object: Literal["list"]
    data: list[ModelShape]


class Health(Shape):
    """A process that lives."""

    status: Literal["ok"]


class Ready(Shape):
    """Whether requests can be answered, and which steps answer."""

    status: Literal["ready", "degraded", "unavailable"]
    steps: dict[str, str]


class FeedbackKept(Shape):
    """What became of what a user said."""

    id: str
    object: Literal["feedback"]
    history: bool
    learnt: bool
    head: str
    note: str


class HistoryItemShape(Shape):
    """One thing that a user did before."""

    id: str
    input: str
    output: str
    ts: str | None
    item_id: str | None
    context: str
    rejected: str | None


class HistoryList(Shape):
    """A user's history, oldest first."""

    object: Literal["list"]
    data: list[HistoryItemShape]


class HistoryAdded(Shape):
    """How many of the items that were sent are new, other than before, or were there."""

    object: Literal["history.added"]
    user: str
    added: int
    updated: int
    unchanged: int


class ItemDeleted(Shape):
    """An item that is gone, and what became of heads that knew it."""

    id: str
    object: Literal["history.item"]
    deleted: Literal[True]
    heads: dict[str, Any]


class UserKnown(Shape):
    """What is known of a user, in short."""

    id: str
    object: Literal["user"]
    personalisation: bool
    counts: dict[str, int]
    history: dict[str, Any]
    heads: list[dict[str, Any]]
    profiles: list[dict[str, Any]]
    teaches_most: list[dict[str, Any]] | None


class PreferencesKept(Shape):
    """What a user wants, as it is from now on."""

    id: str
    object: Literal["user"]
    personalisation: bool


class UserDeleted(Shape):
    """What was removed of a user, in rows by table."""

    id: str
    object: Literal["user"]
    deleted: bool
    counts: dict[str, int]


class UserExport(BaseModel):
    """All rows of one user."""

    object: Literal["user.export"]
    tenant: str
    user: str
    exported_at: str
    tables: dict[str, list[dict[str, Any]]]
    left_out: dict[str, int]


class PersonalisationSwitch(BaseModel):
    """Whether everybody, or this tenant's users, are personalised."""

    object: Literal["personalisation"]


class ApiKeyShape(Shape):
    """An API key, without its text."""

    id: str
    object: Literal["api_key"]
    tenant: str
    user: str | None
    name: str
    prefix: str
    scopes: list[str]
    created: str | None
    expires: str | None
    rotated: str | None
    revoked: str | None


class ApiKeyMade(ApiKeyShape):
    """An API key with its text, which is shown this once."""

    key: str


class ApiKeyList(Shape):
    """The keys of a tenant, oldest first."""

    object: Literal["list"]
    data: list[ApiKeyShape]
