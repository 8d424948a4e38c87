"""Serve configs that were made for 0.1 find the engine under its old import path."""

import logging

import pytest

from hydra_ray.records import HydraError
from hydra_ray.runtime import vllm_app


def test_the_old_import_path_builds_the_engine_with_a_warning(monkeypatch, caplog):
    application, args = object(), {"generator": {"backend": "vllm"}}
    built = []
    monkeypatch.setattr(vllm_app, "build", lambda told: built.append(told) or application)
    # As Serve imports what a config names.
    from ray._common.utils import import_attr

    with caplog.at_level(logging.WARNING, logger="hydra_ray"):
        assert import_attr("hydra_ray.learn.engine:build")(args) is application
    assert built == [args]
    (record,) = caplog.records
    assert "hydra_ray.runtime.vllm_app:build" in record.getMessage()


def test_wrong_settings_under_the_old_path_are_told_as_under_the_new():
    from hydra_ray.learn.engine import build

    with pytest.raises(HydraError, match="generatr"):
        build({"generatr": {}})
