"""Reads what a cross-validation tries: prompts, and recipes; tells every error at once, with its path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from hydra_ray.evaluate.scoring.controls import CONTROLS
from hydra_ray.settings import RetrieverName, Settings, SettingsError, parse_settings
from hydra_ray.settings.files.read import checked, over, read_tree
from hydra_ray.settings.section import Section

VOTE = "-vote"
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")
# What a recipe may set: all else changes nothing here, or is said by prompts.
_METHOD = ("retriever", "stemmer", "history_answers", "allowed_answers", "decide", "vote_weight")
_GATE = ("caution", "least_users")
_NOT_OF_BASE = ("workers", "gpu", "accumulate", "sharded", "max_failures", "checkpoints")
_NOT_OF_FIT = ("mode", "tuned", "users_per_shard", "encoders", "refit_items", "refit_per_minute")


class TriedPromptSettings(Section):
    """One way to ask the LLM a query; what is null is as `method` has it."""

    retriever: RetrieverName | None = Field(None, description="What finds the items that are shown; null shows none.")
    shots: int | None = Field(None, ge=1, description="Items that are shown.")
    samples: int | None = Field(None, ge=1, description="Answers that are asked for.")
    temperature: float | None = Field(None, ge=0, description="Of the samples.")
    greedy: bool | None = Field(None, description="One of the answers is the LLM's greedy one.")

    @model_validator(mode="after")
    def _shots_are_found(self) -> TriedPromptSettings:
        if self.shots is not None and self.retriever is None:
            raise ValueError("shots: name the retriever that finds them, or leave shots out")
        return self


class RecipeSettings(Section):
    """One recipe: which answers compete, and what is set otherwise than in the settings file."""

    candidates: dict[str, int] | None = Field(
        None, description="Answers of each prompt that compete, the greedy one first; null: as all recipes have them."
    )
    set: dict[str, Any] = Field({}, description="Settings by path, e.g. fit.head.kind: bases.")


class RecipesFile(Section):
    """What a cross-validation tries."""

    prompts: dict[str, TriedPromptSettings] = Field(min_length=1, description="Ways to ask, by name.")
    candidates: dict[str, int] | None = Field(None, description="Of recipes that name none of their own.")
    recipes: dict[str, RecipeSettings] = Field(min_length=1, description="By name; others are compared with the first.")

    @field_validator("prompts", "recipes")
    @classmethod
    def _names_are_plain(cls, named: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        for name in named:
            if not _NAME.fullmatch(name) or name in CONTROLS or name.endswith(VOTE):
                raise ValueError(
                    f"{name!r} is no name for one of {info.field_name}: write small letters, digits, '.', '+' and '-', "
                    f"none of the controls' names ({', '.join(CONTROLS)}), and no {VOTE!r} at the end"
                )
        return named


@dataclass(frozen=True, slots=True)
class TriedPrompt:
    """One way to ask the LLM a query, with all its numbers; `TriedPromptSettings` explains each."""

    name: str
    retriever: str | None
    shots: int
    samples: int
    temperature: float
    greedy: bool


@dataclass(frozen=True, slots=True)
class TriedRecipe:
    """A recipe that is tried.

    Attributes:
        name: Name of it.
        settings: All settings, as it has them.
        mix: Number of answers that compete, by prompt.
    """

    name: str
    settings: Settings
    mix: Mapping[str, int]

    @property
    def samples(self) -> int:
        """Answers of the LLM that one query costs."""
        return sum(self.mix.values())


@dataclass(frozen=True, slots=True)
class Recipes:
    """All that one cross-validation tries: prompts, and at least one recipe."""

    prompts: tuple[TriedPrompt, ...]
    recipes: tuple[TriedRecipe, ...]


def load_recipes(path: Path, settings: Settings) -> Recipes:
    """Read prompts and recipes; what a recipe sets goes over the settings.

    Args:
        path: File of prompts and recipes.
        settings: Settings that all recipes start from.

    Raises:
        SettingsError: Names every wrong key and value with its path.
    """
    return read_recipes(read_tree(path), settings, str(path))


def read_recipes(tree: dict[str, Any], settings: Settings, source: str) -> Recipes:
    """Return prompts and recipes of plain values; arguments as `load_recipes`."""
    file = checked(RecipesFile, tree, source)
    prompts = {name: _prompt(name, own, settings) for name, own in file.prompts.items()}
    wrong, recipes = list[str](), list[TriedRecipe]()
    for name, own in file.recipes.items():
        mix = own.candidates or file.candidates or {}
        errors = [*_mix_errors(mix, prompts), *_path_errors(own.set)]
        if name in prompts:
            errors.append("a prompt has the same name")
        if not errors:
            try:
                recipes.append(TriedRecipe(name, _with(settings, own.set), dict(mix)))
            except SettingsError as error:
                errors.append(" ".join(str(error).split()).partition("mend: ")[2] or str(error))
        wrong += [f"  recipes.{name}: {error}" for error in errors]
    if wrong:
        raise SettingsError(f"{source}: {len(wrong)} thing(s) to mend:\n" + "\n".join(wrong))
    return Recipes(tuple(prompts.values()), tuple(recipes))


def _prompt(name: str, own: TriedPromptSettings, settings: Settings) -> TriedPrompt:
    method = settings.method

    def given(value: Any, default: Any) -> Any:
        return default if value is None else value

    return TriedPrompt(
        name,
        own.retriever,
        0 if own.retriever is None else given(own.shots, method.shots),
        given(own.samples, method.candidates),
        given(own.temperature, method.temperature),
        given(own.greedy, method.greedy),
    )


def _mix_errors(mix: Mapping[str, int], prompts: Mapping[str, TriedPrompt]) -> list[str]:
    if not mix:
        return ["candidates: say how many answers of which prompt compete, here or for all recipes"]
    wrong = []
    for name, count in mix.items():
        if name not in prompts:
            wrong.append(f"candidates.{name}: there is no such prompt; there are {', '.join(prompts)}")
        elif not 1 <= count <= prompts[name].samples:
            wrong.append(f"candidates.{name}: {count} of the {prompts[name].samples} answers that are asked for")
    return wrong


def _path_errors(given: Mapping[str, Any]) -> list[str]:
    wrong = []
    for path in given:
        section, _, name = path.partition(".")
        first = name.partition(".")[0]
        useful = {
            "base": bool(first) and first not in _NOT_OF_BASE,
            "fit": bool(first) and first not in _NOT_OF_FIT,
            "method": first in _METHOD,
            "feedback": name == "own_answers",
            "gate": name in _GATE,
            "embedder": bool(first),
        }
        if not useful.get(section, False):
            wrong.append(
                f"set.{path}: a recipe sets base.*, fit.*, embedder.*, feedback.own_answers, gate's "
                f"{', '.join(_GATE)} and method's {', '.join(_METHOD)} where they count without Ray; what the LLM is "
                "asked stands in prompts"
            )
    return wrong


def _with(settings: Settings, given: Mapping[str, Any]) -> Settings:
    """Return the settings with others at some paths.

    Raises:
        SettingsError: They cannot be set so, or want an encoder that is trained.
    """
    tree = settings.model_dump(mode="json")
    for path, value in given.items():
        above: Any = value
        for key in reversed(path.split(".")):
            above = {key: above}
        tree = over(tree, above)
    found = parse_settings(tree)
    if found.base.encoder.trained_layers != 0:
        raise SettingsError("base.encoder.trained_layers: features are kept of a frozen encoder alone: 0 is wanted")
    return found
