"""Settings of how an answer is made, and of what prompts tell of users."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from hydra_ray.settings.encoders import EncoderSection
from hydra_ray.settings.section import Section
from hydra_ray.steps.profiles.prompts import ProfilePrompts, check_template
from hydra_ray.steps.retrieval.retrievers import RETRIEVERS
from hydra_ray.steps.sources import PROFILE, PROMPTS, RERANKED, PromptShare
from hydra_ray.text.search import stemmers


def _known_retriever(name: str) -> str:
    if name not in RETRIEVERS:
        raise ValueError(f"there is no retriever {name!r}; there are {', '.join(RETRIEVERS)}")
    return name


# A name in the registry of retrievers.
RetrieverName = Annotated[str, AfterValidator(_known_retriever)]


class PromptSettings(Section):
    """One of the prompts that hydra's candidates come from."""

    prompt: str = Field(
        description="What it shows: zero-shot (nothing), a retriever (its first items), reranked, or profile."
    )
    samples: int = Field(ge=1, description="Candidates that the LLM gives to it.")
    greedy: bool = Field(True, description="One of them is the LLM's greedy answer.")

    @field_validator("prompt")
    @classmethod
    def _prompt_is_known(cls, prompt: str) -> str:
        if prompt not in PROMPTS:
            raise ValueError(f"there is no prompt {prompt!r}; there are {', '.join(PROMPTS)}")
        return prompt


class MethodSettings(Section):
    """Settings of how an answer is made."""

    rerank: bool = Field(
        False,
        # What depends on no reranker, and was made before one could do without, stays what it is by its fingerprint.
        exclude_if=lambda rerank: not rerank,
        description="Whether the reranker orders the history that hydra's prompt shows; set it before collect.",
    )
    retrieve: int = Field(10, ge=1, description="History items the retriever hands to the reranker.")
    retriever: RetrieverName = Field(
        "bm25",
        description="Of hydra's methods: bm25, dense, recent, random, mixed (bm25, recent) or hybrid (all three).",
    )
    shots: int = Field(4, ge=0, description="History items shown to the LLM.")
    candidates: int = Field(8, ge=1, description="Samples the LLM is asked for.")
    temperature: float = Field(0.7, ge=0, description="Of the samples.")
    greedy: bool = Field(True, description="One of the candidates is the LLM's greedy answer.")
    prompts: tuple[PromptSettings, ...] | None = Field(
        None,
        # What was made before there were any, without one, stays what it is by its fingerprint.
        exclude_if=lambda prompts: prompts == (),
        description="Of hydra: prompts that its candidates come from together, as many as candidates; empty: one; "
        "null: one, but of texts three (retriever, zero-shot, recent), unless a reranker or a profile is at work. Set "
        "it before collect: the adapter learns what each prompt's answers are worth.",
    )
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
    history_answers: int = Field(24, ge=0, description="Retrieved history answers that the adapter reads.")
    max_input_chars: int = Field(4000, ge=1, description="Longer queries and history inputs are cut, and counted.")
    shot_words: int = Field(
        50,
        ge=1,
        description="Longest history input in an example, in words; in Chinese, Japanese, Thai and the like each "
        "character is one.",
    )
    shot_chars: int | None = Field(
        None, ge=1, description="Longest history input in an example, in characters; null: 40 times shot_words."
    )
    stemmer: str | None = Field(
        None, description="Language whose endings are cut off words in retrieval; null: words as they are."
    )
    profile: str = Field("", description="For hydra's methods: kind of profile that the LLM is told, pag or dpl.")

    @field_validator("stemmer")
    @classmethod
    def _stemmer_is_known(cls, stemmer: str | None) -> str | None:
        if stemmer is not None and stemmer not in stemmers():
            raise ValueError(f"there is no stemmer {stemmer!r}; there are {', '.join(stemmers())}")
        return stemmer

    @field_validator("prompts")
    @classmethod
    def _prompts_are_distinct(cls, prompts: tuple[PromptSettings, ...] | None) -> tuple[PromptSettings, ...] | None:
        names = [one.prompt for one in prompts or ()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} stands there twice: add up its samples")
        return prompts

    @model_validator(mode="after")
    def _prompts_fit(self) -> Self:
        prompts = self.prompts or ()
        problems, samples = [], sum(one.samples for one in prompts)
        if prompts and samples != self.candidates:
            problems.append(
                f"the samples of prompts add up to {samples} and candidates is {self.candidates}: make them equal, so "
                "that methods that vote ask as often"
            )
        if not self.profile and any(one.prompt == PROFILE for one in prompts):
            problems.append("prompts name the profile: say in profile which kind, pag or dpl")
        if not self.rerank and any(one.prompt == RERANKED for one in prompts):
            problems.append("prompts name reranked: set rerank to true, or name a retriever there")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def mix(self) -> tuple[PromptShare, ...] | None:
        """The prompts that candidates come from; empty where a method has one, None where the task decides."""
        if self.prompts is None:
            return None
        return tuple(PromptShare(one.prompt, one.samples, one.greedy) for one in self.prompts)

    @property
    def prior_weights(self) -> dict[str, float | None]:
        """Weights by role of what is known before a head scores; None takes what the base learns."""
        return {"reranker": self.rank_weight, "adapter": self.vote_weight}


class EmbedderSettings(EncoderSection):
    """The encoder by which dense retrieval and the search for peers compare texts; the base has its own."""


class PeerSettings(Section):
    """Settings of what users of one tenant may learn from each other."""

    tenants: tuple[str, ...] = Field(
        (), description="Tenants whose users' texts may be shown in each other's prompts; never across tenants."
    )
    similar_users: int = Field(5, ge=1, description="Users nearest in taste whose history is looked at.")
    per_item: int = Field(16, ge=1, description="Most comparable items of others looked at for one item.")
    floor: float = Field(0.4, ge=-1, le=1, description="Least cosine of items that are comparable.")
    refresh_s: float = Field(600, gt=0, description="While serving: age at which who is similar is found anew.")


_PROMPTS = ProfilePrompts()


class ProfilePromptSettings(Section):
    """Prompts that ask for profiles, and the one that tells them; $ begins a placeholder, $$ is a dollar."""

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
    telling: str = Field(_PROMPTS.telling, description="The system's message that tells the LLM the $profile.")

    @field_validator("*")
    @classmethod
    def _placeholders_are_filled(cls, text: str, info: ValidationInfo) -> str:
        return check_template(str(info.field_name), text)


class ProfileSettings(Section):
    """Settings of profiles: what an LLM writes of each user."""

    items: int = Field(8, ge=1, description="Most history items that are read; for dpl also most compared with peers'.")
    pick: Literal["newest", "random"] = Field("newest", description="Which of the user's own items are read.")
    peers: int = Field(4, ge=1, description="For dpl: representative peers that an item is compared with.")
    words: int = Field(100, ge=1, description="Longest input and longest output of an item, in words.")
    difference_words: int = Field(40, ge=1, description="For dpl: longest statement of a difference, in words.")
    max_tokens: int = Field(300, ge=1, description="Longest profile, in the LLM's tokens.")
    difference_tokens: int = Field(256, ge=1, description="For dpl: longest answer about one item's differences.")
    refresh_items: int = Field(5, ge=1, description="A profile is written anew when history grew by so many items.")
    prompts: ProfilePromptSettings = ProfilePromptSettings()
