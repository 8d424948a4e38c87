"""Asks an LLM a handful of tiny requests: whether it can be used, and how it wants to be asked."""

from __future__ import annotations

import asyncio
import json
import logging
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import openai
import yaml
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from hydra_ray.records import ChatRequest, Generation, HydraError, Message
from hydra_ray.runtime.generators import dialect_file, endpoints
from hydra_ray.settings import EndpointSettings, GeneratorSettings, Settings
from hydra_ray.steps.formats import is_valid
from hydra_ray.steps.generate import GenerateError
from hydra_ray.steps.generate.checkpoints import checkpoint_folder
from hydra_ray.steps.generate.endpoint.client import OpenAIGenerator
from hydra_ray.steps.generate.endpoint.dialect_file import DialectFile
from hydra_ray.steps.generate.endpoint.target import Endpoint, Target
from hydra_ray.steps.generate.splitting import SplittingGenerator

log = logging.getLogger(__name__)

_MAX_TOKENS = 64
# Tokens for reasoning that are tried where the answer did not come within the above.
_REASONING_TOKENS = 2048
_USER = Message("user", "Name a colour. Answer with one word.")
_SYSTEM = Message("system", "Answer in lower case.")
_TURNS = (_SYSTEM, Message("user", "Hello."), _USER, Message("assistant", "blue"), Message("user", "And another one?"))
_AS_JSON = Message("user", 'Name a colour. Answer with one JSON object and nothing else: {"colour": "..."}')
_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"colour": {"type": "string"}},
        "required": ["colour"],
        "additionalProperties": False,
    }
)
_SENTENCE = (Message("user", "Write one short sentence about the sea."),)
# What a request that ended the server looks like from outside.
_DIED = ("connection", "server", "timeout")

CHUNKED_PREFILL = (
    "vLLM's own server on CPUs ends on seeded requests unless it is started with --no-enable-chunked-prefill and "
    "--max-num-batched-tokens of at least the model's length"
)


@dataclass(slots=True)
class Diagnosis:
    """Findings on one endpoint.

    Attributes:
        place: Name of what was examined.
        fault: Why the endpoint cannot be used; empty where it can.
        found: Findings by name, as words.
        settings: Settings that may be written into `generator`, so that nothing has to be found out.
        notes: Sentences on what else the operator should know.
    """

    place: str
    fault: str = ""
    found: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __rich__(self) -> RenderableType:
        usable = f"[red]cannot be used:[/red] {escape(self.fault)}" if self.fault else "[green]can be used[/green]"
        shown: list[RenderableType] = [f"{escape(self.place)}: {usable}"]
        if self.found:
            table = Table("", "found", show_header=False)
            for name, what in self.found.items():
                table.add_row(name, escape(what))
            shown.append(table)
        if self.settings:
            shown.append(escape(yaml.safe_dump({"generator": self.settings}, sort_keys=False).rstrip()))
        return Group(*shown, *map(escape, self.notes))


def examine(settings: Settings) -> list[Diagnosis]:
    """Examines the LLM and its fallbacks, one after the other; what is found of dialects is remembered.

    Raises:
        HydraError: A key file or a checkpoint cannot be read.
    """
    g = settings.generator
    if g.backend == "embedded":
        usable = f"embedded, {checkpoint_folder(g.model)}"
        return [
            Diagnosis(usable, notes=["It runs in the asking process: all samples are one request, and all repeat."])
        ]
    if g.backend == "vllm":
        note = "Serve hosts it for hydra-ray: all samples are one request. On CPUs chunked prefill is off by itself."
        found = Diagnosis(f"vllm, {g.model} as application {g.vllm.app!r}", notes=[note])
        if g.vllm.device == "cpu" and g.vllm.engine.get("enable_chunked_prefill"):
            found.fault = "generator.vllm.engine.enable_chunked_prefill: vLLM on CPUs ends on seeded requests with it"
        return [found]
    return [asyncio.run(_examine(settings, endpoint)) for endpoint in endpoints(g)]


def check_usable(found: Sequence[Diagnosis]) -> None:
    """Ends in an error where an LLM cannot be used.

    Raises:
        HydraError: One of them cannot.
    """
    if faults := [f"{one.place}: {one.fault}" for one in found if one.fault]:
        raise HydraError("; ".join(faults))


async def _examine(settings: Settings, endpoint: EndpointSettings) -> Diagnosis:
    probe = _Probe(settings.generator, endpoint)
    target = probe.target
    found = Diagnosis(f"{target.place}, model {target.model}")
    try:
        served = await _models(target)
        if any(owner == "vllm" for owner in served.values()):
            found.notes.append(f"This is vLLM. {CHUNKED_PREFILL}.")
        try:
            await _ask_all(probe, found)
        except GenerateError as error:
            found.fault = str(error)
            if served and target.model not in served and error.kind == "setting":
                found.notes.append(f"Models that it lists: {', '.join(list(served)[:10])}")
    finally:
        await probe.close()
    if not found.fault:
        path = dialect_file(settings)
        DialectFile(path).put(target.place, target.model, target.learnt)
        _tell_dialect(probe, found)
        elsewhere = "; the settings above say the same, for where that file is not" if found.settings else ""
        found.notes.append(f"What it takes is remembered in {path}{elsewhere}.")
    return found


class _Probe:
    """Asks one endpoint as commands do, but knows nothing of its dialect at first."""

    def __init__(self, g: GeneratorSettings, endpoint: EndpointSettings) -> None:
        place = Endpoint(endpoint.base_url, endpoint.api_key_env, endpoint.api_key_file, endpoint.model)
        self.bare = OpenAIGenerator(
            g.model,
            [place],
            concurrency=g.concurrency,
            timeout_s=g.timeout_s,
            retries=min(1, g.retries),
            send_seed=g.send_seed,
            requests_per_minute=g.limits.requests_per_minute,
            tokens_per_minute=g.limits.tokens_per_minute,
            params=g.further_params,
            dialect=g.dialect.model_dump(exclude_none=True),
        )
        self.target: Target = self.bare.targets[0]
        self.reasoning_tokens = g.reasoning_tokens
        self.seconds: list[float] = []

    async def __call__(
        self, *messages: Message, n: int = 1, temperature: float = 0.0, seed: int = 0, schema: str = ""
    ) -> Generation:
        ask = SplittingGenerator(self.bare, self.bare.most_samples, None, "", self.reasoning_tokens)
        start = time.perf_counter()
        answer = await ask(ChatRequest(messages, n, temperature, _MAX_TOKENS, seed, schema=schema))
        self.seconds.append(time.perf_counter() - start)
        return answer

    async def close(self) -> None:
        await self.bare.close()


async def _ask_all(probe: _Probe, found: Diagnosis) -> None:
    """The requests, least demanding first.

    Raises:
        GenerateError: One was not answered.
    """
    first = await _first(probe, found)
    await probe(*_TURNS)
    greedy = await probe(_USER)
    found.found["greedy answers"] = "repeat" if first.texts == greedy.texts else "differ from time to time"
    try:
        samples = await probe(*_SENTENCE, n=2, temperature=1.0, seed=1)
        again = await probe(*_SENTENCE, n=2, temperature=1.0, seed=1)
    except GenerateError as error:
        if error.kind not in _DIED:
            raise
        # Greedy requests were answered, and they carry no seed.
        raise GenerateError(f"it failed at a seeded request ({error}). {CHUNKED_PREFILL}", error.kind) from error
    if len(samples.texts) < 2:
        found.notes.append("Of two samples one came only.")
    found.found["seeded samples"] = "repeat" if samples.texts == again.texts else "differ from time to time"
    await _ask_for_json(probe, found)


async def _ask_for_json(probe: _Probe, found: Diagnosis) -> None:
    try:
        text = (await probe(_AS_JSON, schema=_SCHEMA)).texts[0]
    except GenerateError as error:
        found.notes.append(
            f"A request for JSON has no answer ({error}). Where answers are held to a schema, as in profiles of kind "
            "dpl, generator.dialect.json_by: words asks without one."
        )
        return
    kept = is_valid(text, json.dumps({"type": "json_schema", "json_schema": {"schema": json.loads(_SCHEMA)}}))
    way = {"schema": "held to a schema", "object": "held to any JSON object", "words": "asked for in words only"}
    found.found["answers as JSON"] = f"{way[probe.target.dialect.json_by]}; {'kept to' if kept else 'not kept to'}"


async def _first(probe: _Probe, found: Diagnosis) -> Generation:
    try:
        return await probe(_USER)
    except GenerateError as error:
        if error.kind != "empty" or not probe.target.reasons or probe.reasoning_tokens >= _REASONING_TOKENS:
            raise
    probe.reasoning_tokens = _REASONING_TOKENS
    answer = await probe(_USER)
    found.settings["reasoning_tokens"] = _REASONING_TOKENS
    found.notes.append(
        f"Its reasoning takes more than {_MAX_TOKENS} tokens: write reasoning_tokens as above, or turn reasoning off "
        "by generator.params or generator.extra_body."
    )
    return answer


async def _models(target: Target) -> dict[str, str]:
    """Names of the models that the endpoint lists and who owns them; not every endpoint does."""
    try:
        listed = await target.client.with_options(timeout=10, max_retries=0).models.list()
        return {str(model.id): str(getattr(model, "owned_by", "")) for model in listed.data}
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        log.debug("%s lists no models: %s", target.place, type(error).__name__)
        return {}


def _tell_dialect(probe: _Probe, found: Diagnosis) -> None:
    dialect, target = probe.target.dialect, probe.target
    most = dialect.samples
    temperature = {
        "sent": "any",
        "positive": "above zero: greedy answers are asked for with 0.01",
        "omitted": "its own only: no answer is greedy",
    }
    system = {
        "sent": "taken",
        "first": "one, at the beginning: all are told in it",
        "user": "not taken: told in the user's first message",
    }
    if dialect.temperature == "omitted":
        found.found["greedy answers"] = "not possible"
    if not dialect.seed:
        found.found["seeded samples"] = "not possible"
    found.found = {
        "samples (n)": "any number in one request" if most is None else f"{most} a request: more take more calls",
        "longest answer": dialect.max_tokens,
        "temperature": temperature[dialect.temperature],
        "seed": "taken" if dialect.seed else "not taken",
        "system role": system[dialect.system],
        "turns": "user and assistant alternate" if dialect.alternate else "in any order",
        "reasoning": "comes with answers, and is left out" if target.reasons else "none seen",
        "token usage": "told" if target.tells_usage else "not told: budgets count the most that a request can use",
        "latency": f"{statistics.median(probe.seconds):.2f} s (median of {len(probe.seconds)})",
        **found.found,
    }
    learnt = target.learnt.differs()
    if not learnt.pop("seed", True):
        found.settings["send_seed"] = False
    if learnt:
        found.settings["dialect"] = learnt
