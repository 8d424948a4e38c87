"""Rendered manifests as fixtures: of every profile, and of those that host the LLM."""

from __future__ import annotations

import pytest
from manifests import PROFILES, Manifests, rendered


@pytest.fixture(params=PROFILES)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return rendered(request.param)


@pytest.fixture(params=["gpu", "cluster"])
def with_gpus(request: pytest.FixtureRequest) -> Manifests:
    return rendered(request.param)
