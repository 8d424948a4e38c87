"""The hosted generator reports what becomes of requests; the metrics' way to Prometheus is Ray's."""

import pytest
from clocks import TickingClock

from hydra_ray.records import ChatRequest, Message
from hydra_ray.runtime import generators
from hydra_ray.serve import generator as hosted
from hydra_ray.serve.observe import metrics as noting
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate import GenerateError, metered


class Recorded:
    """Stands in for Ray's metrics, which only count within a replica."""

    def __init__(self, name, *_, **__):
        self.name, self.noted = name, []
        BY_NAME[name] = self

    def inc(self, value=1, tags=None):
        self.noted.append((value, tags))

    observe = inc


BY_NAME: dict[str, Recorded] = {}


@pytest.fixture
def generator(monkeypatch):
    """The deployment's class itself, with the demo's LM."""
    monkeypatch.setattr(noting.metrics, "Counter", Recorded)
    monkeypatch.setattr(noting.metrics, "Histogram", Recorded)
    BY_NAME.clear()
    return hosted.Generator.func_or_class(parse_settings({}))


def ask(text: str) -> ChatRequest:
    return ChatRequest((Message("user", text),), n=2, temperature=1.0, max_tokens=4)


async def test_calls_tokens_and_seconds_are_counted(generator, monkeypatch):
    monkeypatch.setattr(metered, "time", TickingClock())
    answer = await generator(ask("Name the film"), "default")
    assert BY_NAME["hydra_generator_calls"].noted == [(1, {"outcome": "answered"})]
    assert BY_NAME["hydra_generator_tokens"].noted == [
        (answer.usage.prompt_tokens, {"direction": "in"}),
        (answer.usage.completion_tokens, {"direction": "out"}),
    ]
    assert BY_NAME["hydra_generator_seconds"].noted == [(1, {})]


async def test_a_failure_is_counted_by_its_kind_and_costs_no_tokens(generator):
    with pytest.raises(GenerateError) as caught:
        await generator(ask("film " * 5000), "default")
    assert caught.value.kind == "refused"
    assert BY_NAME["hydra_generator_calls"].noted == [(1, {"outcome": "refused"})]
    assert BY_NAME["hydra_generator_tokens"].noted == []


async def test_several_requests_of_one_call_end_each_in_its_own_way(generator):
    ends = await generator.all((ask("Name the film"), ask("film " * 5000), ask("Name it")), "default")
    assert [isinstance(end, GenerateError) for end in ends] == [False, True, False]
    assert ends[0] == await generator(ask("Name the film"), "default")
    assert ends[1].kind == "refused"
    assert len(BY_NAME["hydra_generator_calls"].noted) == 4


async def test_answers_are_cached_while_serving_only_if_a_folder_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(noting.metrics, "Counter", Recorded)
    monkeypatch.setattr(noting.metrics, "Histogram", Recorded)
    BY_NAME.clear()
    plain = hosted.Generator.func_or_class(parse_settings({"out": str(tmp_path)}))
    await plain(ask("Name the film"), "default")
    assert (await plain(ask("Name the film"), "default")).usage.cached == 0
    assert not list(tmp_path.iterdir())
    cached = hosted.Generator.func_or_class(parse_settings({"generator": {"cache": str(tmp_path)}}))
    await cached(ask("Name the film"), "default")
    assert (await cached(ask("Name the film"), "default")).usage.cached == 1
    assert BY_NAME["hydra_generator_calls"].noted == [(1, {"outcome": "answered"})]


async def test_kept_answers_are_one_tenants(monkeypatch, tmp_path):
    monkeypatch.setattr(noting.metrics, "Counter", Recorded)
    monkeypatch.setattr(noting.metrics, "Histogram", Recorded)
    BY_NAME.clear()
    settings = parse_settings({"generator": {"cache": str(tmp_path)}, "tenants": {"zeta": {}}})
    cached = hosted.Generator.func_or_class(settings)
    found = [(await cached(ask("Name the film"), tenant)).usage.cached for tenant in ("default", "zeta", "zeta")]
    assert found == [0, 0, 1]


async def test_vllms_prefixes_are_one_tenants(monkeypatch):
    payloads = []

    async def engine(payload):
        payloads.append(payload)
        return {"choices": [{"message": {"content": "Calm."}}], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}

    monkeypatch.setattr(noting.metrics, "Counter", Recorded)
    monkeypatch.setattr(noting.metrics, "Histogram", Recorded)
    BY_NAME.clear()
    monkeypatch.setattr(generators, "RemoteEngine", lambda app: engine)
    monkeypatch.setenv("HYDRA_SALT_KEY", "s3cret")
    settings = parse_settings({"generator": {"backend": "vllm"}, "tenants": {"zeta": {}}})
    generator = hosted.Generator.func_or_class(settings)
    for tenant in ("default", "zeta", "default"):
        await generator(ask("Name the film"), tenant)
    default, zeta, again = [payload["cache_salt"] for payload in payloads]
    assert default == again != zeta
