"""Settings reach what is made of them."""

from dataclasses import fields

import pytest

from hydra_ray.learn.assembly import make_recipe
from hydra_ray.settings import parse_settings

# Beside those that have a setting's name.
OTHERWISE = {"expected", "told", "seed"}


@pytest.mark.parametrize("preset", ["", "paper"])
def test_the_methods_numbers_are_those_of_the_settings(preset):
    # None of them as the recipe has it by itself.
    odd = {"profile": "dpl", "retriever": "recent", "retrieve": 9, "shots": 3, "candidates": 5}
    settings = parse_settings({"preset": preset, "seed": 3, "method": odd})
    recipe = make_recipe(settings)
    told = {field.name: getattr(recipe, field.name) for field in fields(recipe) if field.name not in OTHERWISE}
    assert told == {name: getattr(settings.method, name) for name in told}
    assert recipe.expected == (preset == "")
    assert (recipe.seed, recipe.told) == (3, settings.profile.prompts.told)
    assert recipe.allowed_answers == (64 if preset == "" else 0)
