"""Streams through deployments on a cluster: from the LLM's first word to the client, and back when it hangs up."""

import httpx
import pytest
from openai import OpenAI
from running import free_port
from streaming_endpoint import chunk, streaming, words

from hydra_ray.models.base import Base
from hydra_ray.records import HydraError
from hydra_ray.serve.local import serving
from hydra_ray.settings import parse_settings
from hydra_ray.tasks import CHAT_TASK

ASKED = {"model": "hydra", "messages": [{"role": "user", "content": "And now?"}], "stream": True}


@pytest.fixture(scope="module")
def llm():
    with streaming() as server:
        yield server


@pytest.fixture(scope="module")
def settings(llm, scorer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    Base("v1", CHAT_TASK, scorer(seed=1), scorer(seed=2)).save(folder / "base")
    generator = {"backend": "openai", "base_url": llm.url, "model": "m", "retries": 0}
    return parse_settings({"out": str(folder), "model": {"dir": str(folder)}, "generator": generator})


@pytest.fixture(scope="module")
def url(ray_cluster, settings):
    with serving(settings, "127.0.0.1", free_port()) as url:
        yield url


@pytest.mark.parametrize("more", [{"hydra": {"method": "rag"}}, {"logprobs": True}], ids=["rag", "passthrough"])
def test_words_flow_and_a_client_that_hangs_up_stops_the_llm(llm, url, more):
    client = OpenAI(base_url=url, api_key="none", max_retries=0)
    llm.let(chunk({"role": "assistant"}), chunk({"content": "It"}))
    sent = llm.sent
    coming = client.chat.completions.create(**ASKED, extra_body=more)
    said = ""
    while not said:
        said += next(coming).choices[0].delta.content or ""
    assert (said, llm.sent - sent) == ("It", 2)
    llm.let(*words(" is", "."), end=True)
    *_, end = coming
    assert end.choices[0].finish_reason == "stop"
    assert end.hydra["method"] == ("passthrough" if "logprobs" in more else "rag")
    llm.left.clear()
    llm.let(chunk({"content": "It"}))
    with httpx.stream("POST", f"{url}/chat/completions", json={**ASKED, **more}, timeout=60) as response:
        next(response.iter_lines())
    assert llm.left.wait(60)


def test_a_cluster_that_serves_already_is_left_alone(settings, url):
    with pytest.raises(HydraError, match="Serve already runs"), serving(settings, "127.0.0.1", free_port()):
        pass
    assert httpx.get(f"{url}/models", timeout=60).status_code == 200
