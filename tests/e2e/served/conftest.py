"""The demo's model, served once for all tests of this folder."""

from collections.abc import Iterator

import pytest
from openai import OpenAI
from running import free_port

from hydra_ray.serve.local import serving
from hydra_ray.settings import HeadSettings, Settings


@pytest.fixture(scope="package")
def settings(demo_settings: Settings) -> Settings:
    """The demo, where newcomers learn online."""
    fit = demo_settings.fit.model_copy(update={"head": HeadSettings(kind="bases")})
    return demo_settings.model_copy(update={"fit": fit})


@pytest.fixture(scope="package")
def url(demo_results, settings: Settings) -> Iterator[str]:
    """Where it is served, as OpenAI clients take it."""
    with serving(settings, "127.0.0.1", free_port()) as url:
        yield url


@pytest.fixture(scope="package")
def client(url: str) -> OpenAI:
    return OpenAI(base_url=url, api_key="none", max_retries=0)
