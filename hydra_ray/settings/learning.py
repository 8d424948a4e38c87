"""Settings of what is learnt: the shared base, the users' heads, and the feedback that both learn from."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from hydra_ray.settings.encoders import EncoderSection
from hydra_ray.settings.section import Section


class EncoderSettings(EncoderSection):
    """The encoder of the base: any Hugging Face encoder by name or path."""

    trained_layers: int | None = Field(0, ge=0, description="Top layers that are trained; null trains all.")


class BaseHeadSettings(Section):
    """The training users' heads while the base is fitted."""

    kind: Literal["lowrank", "dense"] = Field("lowrank", description="As of fit.head.")
    rank: int = Field(6, ge=1, description="For lowrank.")


class HeadSettings(Section):
    """A user's head: what is added to the shared head's logit."""

    kind: Literal["lowrank", "dense", "facets", "bases"] = Field(
        "lowrank", description="bases learns online and is the smallest, dense is HYDRA's, facets is MoF's."
    )
    rank: int = Field(6, ge=1, description="For lowrank.")


class BaseSettings(Section):
    """Fitting the shared base with Ray Train."""

    encoder: EncoderSettings = EncoderSettings()
    head: BaseHeadSettings = BaseHeadSettings()
    loss: Literal["listwise", "bce"] = Field(
        "listwise", description="What competes for a query is ranked together, or each judged alone."
    )
    lexical: bool = Field(True, description="Read what words alone tell: past answers that say the same, or alike.")
    read_sources: bool = Field(
        False,
        # What was made before it was there, without it, stays what it is by its fingerprint.
        exclude_if=lambda read: not read,
        description="Read which of method.prompts gave a candidate, how often, and whether as its greedy answer.",
    )
    start: Literal["plain", "fitted"] | None = Field(
        None,
        # What was made before there was another one stays what it is by its fingerprint.
        exclude_if=lambda start: start == "plain",
        description="Of the adapter's weights for words, votes and sources: one for equal past answers (plain), or "
        "what fits the training groups best by itself (fitted); null: fitted with the listwise loss.",
    )
    epochs: int = Field(4, ge=1, description="Passes over the training groups.")
    batch_groups: int = Field(
        16, ge=1, description="Groups (queries with all that competes for them) a worker and step."
    )
    lr: float = Field(5e-5, gt=0, description="AdamW's peak rate for the encoder.")
    head_lr: float = Field(
        1e-3,
        gt=0,
        description="AdamW's peak rate for shared head and user heads; 10 times it for words and votes.",
    )
    accumulate: int = Field(
        1,
        ge=1,
        description="Parts that a step's groups are computed in, one after another: less memory, same step.",
    )
    weight_decay: float = Field(0.01, ge=0, description="AdamW's.")
    user_drop: float = Field(0.3, ge=0, le=1, description="Share of groups scored by the shared head alone.")
    workers: int = Field(1, ge=1, description="Processes of Ray Train; each takes a share of the groups.")
    gpu: bool = Field(False, description="One GPU a worker.")
    sharded: bool = Field(
        False,
        description="The encoder in shares, one a worker (FSDP2): where it is too large for one.",
    )
    max_failures: int = Field(2, ge=0, description="Restarts from the last checkpoint before giving up.")
    checkpoints: str | None = Field(
        None, description="Folder or URI (s3://) for checkpoints, which every node sees; null: <model.dir>/training."
    )
    seed: int | None = Field(None, description="Of training alone: data and LLM answers stay; null is seed.")

    @model_validator(mode="after")
    def _start_fits_the_loss(self) -> Self:
        if self.start == "fitted" and self.loss != "listwise":
            raise ValueError("start: fitted is of the listwise loss; leave start out, or set loss: listwise")
        return self

    @property
    def starts_fitted(self) -> bool:
        """Whether the adapter's weights for single numbers start at what fits the training groups best."""
        return self.start != "plain" and self.loss == "listwise"

    @model_validator(mode="after")
    def _shares_of_what_is_trained(self) -> Self:
        if self.sharded and self.encoder.trained_layers == 0:
            raise ValueError(
                "sharded is of an encoder that is trained: set encoder.trained_layers, or leave sharded out; a frozen "
                "encoder reads each text once"
            )
        return self


class GateSettings(Section):
    """Fitting the gate, by which hydra gives a plain method's answer where its own choice may be worse."""

    folds: int = Field(
        5, ge=0, description="Of training users, each judged by a base of the others; 0 trains no gate, as less than 2."
    )
    caution: float = Field(
        0.9,
        ge=0.5,
        lt=1,
        description="Share of users who are not to be made worse; as surely choices that pass gain on the whole.",
    )
    least_users: int = Field(
        4, ge=2, description="Training users with differing answers below which the gate lets nothing through."
    )


class FitSettings(Section):
    """Fitting heads of new users on the frozen base."""

    mode: Literal["llm", "zero-call"] = Field(
        "llm", description="llm asks about history items as `collect` does; zero-call learns of their answers alone."
    )
    head: HeadSettings = HeadSettings()
    steps: int = Field(15, ge=1, description="For lowrank and dense: full-batch Adam steps.")
    lr: float = Field(0.005, gt=0, description="For lowrank and dense.")
    pull: float = Field(0.05, ge=0, description="Strength of the pull towards the shared head.")
    dropout: float = Field(0, ge=0, lt=1, description="For lowrank and dense: share of features left out a step.")
    temperature: float = Field(0.03, gt=0, description="For listwise: scores this far apart count e times as much.")
    held_back: float = Field(
        0, ge=0, lt=1, description="For lowrank and dense: share of the latest groups that says when to stop."
    )
    tuned: bool = Field(True, description="Use what `hydra-ray tune` found for a user's cohort, where it has.")
    min_groups: int = Field(
        4, ge=1, description="For lowrank and dense: users who teach less than so many queries get the shared answer."
    )
    users_per_batch: int = Field(128, ge=1, description="Users fitted in one vectorised optimisation.")
    users_per_shard: int = Field(256, ge=1, description="Users whose features are one file, and are lost together.")
    encoders: int = Field(1, ge=1, description="Most processes that encode at once.")
    refit_items: int | None = Field(
        8,
        ge=1,
        description="New history items and feedback events after which a served head is fitted again; null: never.",
    )
    refit_per_minute: int = Field(30, ge=1, description="Most heads that are fitted again a minute while serving.")


class FeedbackSettings(Section):
    """Settings of the feedback that teaches which history helps and which candidates are preferred."""

    dir: Path | None = Field(None, description="Where feedback is kept; null means <out>/feedback.")
    pseudo_queries: int = Field(10, ge=0, description="History items a user asked again as queries.")
    items: int = Field(10, ge=0, description="Retrieved items a query tried one at a time; with method.rerank.")
    labelers: int = Field(1, ge=1, description="Processes that ask the LLM and share its limits; embedded: engines.")
    own_answers: int = Field(64, ge=0, description="History items a user that teach the adapter without an LLM call.")
    stop_when_alike: bool = Field(
        True, description="Stop, before more is spent, where all scores of the first queries are equal."
    )
    max_calls: int | None = Field(None, ge=0, description="Most LLM calls, spread evenly over users; null is no limit.")
