"""Settings of what is logged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hydra_ray.settings.section import Section


class LoggingSettings(Section):
    """Settings of the log on stderr: what was done without, tried again or left out, each with its cause."""

    level: Literal["debug", "info", "warning", "error"] = Field("warning", description="The least that is written.")
    json_lines: bool = Field(False, description="A line of JSON a message.")
