"""One hydra-ray, really served, for all clients; behind it an LLM that remembers what it was asked."""

from collections.abc import Iterator

import httpx
import pytest
from code_blocks import code_blocks
from running import free_port

from clients import PAGE, REMEMBERED, SHOWN, USER
from clients.llm import LLM
from clients.llm import serving as llm_serving
from clients.proxy import Proxy, running_proxy
from hydra_ray.settings import Settings, parse_settings
from hydra_ray.tasks import CHAT_TASK


@pytest.fixture(scope="package")
def llm() -> Iterator[LLM]:
    """The LLM that hydra-ray asks."""
    with llm_serving() as llm:
        yield llm


@pytest.fixture(scope="package")
def settings(llm: LLM, scorer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small base for conversations; clients do not mind what it prefers."""
    from hydra_ray.models.base import Base

    out = tmp_path_factory.mktemp("clients")
    Base("v1", CHAT_TASK, scorer(seed=1), scorer(seed=2)).save(out / "model" / "base")
    return parse_settings(
        {
            "out": str(out),
            # What the LLM refuses for now is the client's to ask again.
            "generator": {"backend": "openai", "base_url": llm.url, "model": "llm", "retries": 0},
            "method": {"candidates": 4},
            "fit": {"head": {"kind": "bases"}},
        }
    )


@pytest.fixture(scope="package")
def url(ray_cluster: None, settings: Settings) -> Iterator[str]:
    """Where it is served, as OpenAI's clients take it; one user has a history."""
    from hydra_ray.serve.local import serving

    with serving(settings, "127.0.0.1", free_port()) as url:
        said = {"input": REMEMBERED, "accepted": "Sure, where?"}
        httpx.post(f"{url}/users/{USER}/feedback", json=said, timeout=60).raise_for_status()
        yield url


@pytest.fixture(scope="package")
def proxy(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """LiteLLM's proxy in front of it, as the docs set it up."""
    (config,) = code_blocks(PAGE, "### Its proxy", "yaml")
    assert SHOWN in config
    with running_proxy(config.replace(SHOWN, url), tmp_path_factory.mktemp("litellm_proxy")) as proxy:
        yield proxy
