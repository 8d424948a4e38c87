"""Settings of an online experiment: arms, their shares, and who is never personalised."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from hydra_ray.settings.section import Section

# Names of arms that every online experiment has: who is never personalised, and who is answered as without it.
HOLDOUT, DEFAULT = "holdout", "default"
# Shares such as three times a third may come to a little more than 1.
_ROUNDING = 1e-9


class ArmSettings(Section):
    """One way in which some are answered; what is null is as for everybody."""

    share: float = Field(gt=0, le=1, description="Share of the users, or of the requests.")
    method: str | None = Field(None, description="What answers, in place of serve.method.")
    version: str | None = Field(None, description="Alias or version of the base, e.g. candidate.")
    head: Literal["own", "shared", "off"] = Field(
        "own",
        description="own: each user's head; shared: their history, but the head that all share; off: not personalised.",
    )

    @field_validator("head", mode="before")
    @classmethod
    def _off_is_a_word(cls, head: object) -> object:
        # Of YAML 1.1, which most files are read as, it is a truth value.
        return "off" if head is False else head


class ExperimentSettings(Section):
    """An online experiment; without a name there is none."""

    name: str = Field(
        "", max_length=100, pattern="^[^/]*$", description="Name of it. Another name draws anew who is in which arm."
    )
    key_env: str | None = Field(
        None, description="Environment variable with the secret that arms are drawn by; every replica needs it."
    )
    key_file: Path | None = Field(None, description="File that holds it.")
    by: Literal["user", "request"] = Field("user", description="What keeps its arm: a user, or a single request.")
    arms: dict[str, ArmSettings] = Field({}, description="Arms by name: {cheap: {share: 0.5, method: rag}}.")
    holdout: float = Field(
        0, ge=0, lt=1, description="Share of the users who are never personalised, whatever the experiment's name."
    )

    @field_validator("arms")
    @classmethod
    def _arms_have_names(cls, arms: dict[str, ArmSettings]) -> dict[str, ArmSettings]:
        for name in arms:
            if not name.strip() or name != name.strip() or len(name) > 100:
                raise ValueError(f"{name!r} is no name of an arm: write 1 to 100 letters without blanks around them")
            if name in (HOLDOUT, DEFAULT):
                raise ValueError(f"{name!r} is an arm of every experiment: give this one another name")
        return arms

    @model_validator(mode="after")
    def _is_whole(self) -> ExperimentSettings:
        shares = self.holdout + sum(arm.share for arm in self.arms.values())
        if shares > 1 + _ROUNDING:
            raise ValueError(f"arms and holdout take {shares:g} of the users, which is more than all of them")
        if not self.name:
            if self.arms or self.holdout:
                raise ValueError("name: arms and holdout are of an experiment; give it a name")
            return self
        if not self.arms and not self.holdout:
            raise ValueError("arms: an experiment has arms, or a holdout")
        keys = [name for name in ("key_env", "key_file") if getattr(self, name) is not None]
        if len(keys) != 1:
            found = " and ".join(keys) or "nothing"
            raise ValueError(f"key_env or key_file: {found} says where the secret is; exactly one of them is wanted")
        return self

    @property
    def runs(self) -> bool:
        """Whether there is an experiment."""
        return bool(self.name)
