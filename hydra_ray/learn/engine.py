"""The engine under the import path that Serve configs made for 0.1 name; it lives in `hydra_ray.runtime.vllm_app`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from hydra_ray.runtime import vllm_app

if TYPE_CHECKING:
    from ray.serve import Application

log = logging.getLogger(__name__)


def build(args: dict[str, Any]) -> Application:
    """Builds the engine as `hydra_ray.runtime.vllm_app.build` does, with a warning that the config is old.

    Args:
        args: The settings tree, of which `generator` is used.

    Raises:
        HydraError: Wrong settings, or vLLM is not installed.
    """
    log.warning(
        "import_path: hydra_ray.learn.engine:build is deprecated: write hydra_ray.runtime.vllm_app:build in the Serve "
        "config file"
    )
    return vllm_app.build(args)
