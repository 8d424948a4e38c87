"""`hydra-ray cross-validate`: recipes compared over users, from what the LLM said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from hydra_ray import api
from hydra_ray.commands.arguments import Overrides, SettingsFile, load
from hydra_ray.terminal import TerminalProgress

RecipesFile = Annotated[Path, typer.Argument(help="Prompts and recipes in YAML.", metavar="RECIPES.yaml")]


def cross_validate(settings: SettingsFile, recipes: RecipesFile, overrides: Overrides = None) -> None:
    """Compares recipes by cross-validation over users of splits train and dev; writes results and rows to `out`.

    Each query is asked once by each prompt. The LLM's answers and encodings of texts are kept: other recipes ask and
    encode nothing. Wants no Ray cluster and no trained base.
    """
    from hydra_ray.evaluate.crossval.recipes import load_recipes
    from hydra_ray.evaluate.crossval.report import RESULTS, validation_tables

    tree, console = load(settings, overrides), Console()
    validation = api.cross_validate(tree, load_recipes(recipes, tree), TerminalProgress(console))
    console.print(*validation_tables(validation))
    console.print(
        f"{validation.calls} LLM requests were made now, {validation.known} were answered before; {validation.encoded} "
        f"texts were encoded now. {tree.out / RESULTS}, {tree.out}/<task>/<recipe>.parquet",
        markup=False,
    )
