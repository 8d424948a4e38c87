"""Rendered manifests as fixtures: of every folder, and of those that use GPUs."""

from __future__ import annotations

import pytest
from manifests import OVERLAYS, Manifests, render


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return render(request.param)


@pytest.fixture(params=["base", "overlays/gpu"])
def with_gpus(request: pytest.FixtureRequest) -> Manifests:
    return render(request.param)
