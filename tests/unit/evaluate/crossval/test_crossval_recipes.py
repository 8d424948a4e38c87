"""Prompts and recipes as people write them, and what is wrong with them."""

from pathlib import Path

import pytest

from hydra_ray.evaluate.crossval.recipes import load_recipes, read_recipes
from hydra_ray.settings import Settings, SettingsError

PROMPTS = {"zero-shot": {}, "nearest": {"retriever": "bm25", "shots": 2, "samples": 3, "greedy": False}}


def test_what_a_prompt_leaves_out_is_as_the_method_has_it():
    settings = Settings()
    file = {"prompts": PROMPTS, "candidates": {"zero-shot": 2}, "recipes": {"default": {}}}
    zero, nearest = read_recipes(file, settings, "recipes").prompts
    method = settings.method
    assert (zero.retriever, zero.shots, zero.samples, zero.greedy) == (None, 0, method.candidates, method.greedy)
    assert (nearest.shots, nearest.samples, nearest.greedy) == (2, 3, False)
    assert zero.temperature == nearest.temperature == method.temperature


def test_a_recipe_goes_over_the_settings_and_over_the_mix_of_all():
    settings = Settings()
    recipes = {
        "default": {},
        "other": {"candidates": {"nearest": 3, "zero-shot": 5}, "set": {"fit.head.kind": "bases", "base.epochs": 7}},
    }
    default, other = read_recipes(
        {"prompts": PROMPTS, "candidates": {"zero-shot": 8}, "recipes": recipes}, settings, "recipes"
    ).recipes
    assert (default.mix, default.samples) == ({"zero-shot": 8}, 8)
    assert default.settings == settings
    assert (other.mix, other.samples) == ({"nearest": 3, "zero-shot": 5}, 8)
    assert (other.settings.fit.head.kind, other.settings.base.epochs) == ("bases", 7)
    # What stands beside a setting in its section stays.
    assert other.settings.fit.steps == settings.fit.steps


def test_every_error_is_told_at_once():
    recipes = {
        "zero-shot": {"candidates": {"zero-shot": 1}},
        "none": {"candidates": {"oracle": 1, "nearest": 4}},
        "nothing": {},
        "asks": {"candidates": {"zero-shot": 1}, "set": {"method.shots": 1, "serve.method": "rag"}},
        "typo": {"candidates": {"zero-shot": 1}, "set": {"fit.stepps": 3}},
        "trains": {"candidates": {"zero-shot": 1}, "set": {"base.encoder.trained_layers": 1}},
        "fine": {"candidates": {"zero-shot": 1}},
    }
    with pytest.raises(SettingsError) as error:
        read_recipes({"prompts": PROMPTS, "recipes": recipes}, Settings(), "r.yaml")
    lines = str(error.value).splitlines()
    assert lines[0] == "r.yaml: 8 thing(s) to mend:"
    for line, said in zip(
        lines[1:],
        (
            "recipes.zero-shot: a prompt has the same name",
            "recipes.none: candidates.oracle: there is no such prompt; there are zero-shot, nearest",
            "recipes.none: candidates.nearest: 4 of the 3 answers",
            "recipes.nothing: candidates: say how many",
            "recipes.asks: set.method.shots:",
            "recipes.asks: set.serve.method:",
            "recipes.typo: fit.stepps: no such setting",
            "recipes.trains: base.encoder.trained_layers:",
        ),
        strict=True,
    ):
        assert line.strip().startswith(said)


def test_recipes_set_the_gates_caution_and_not_how_users_are_split():
    file = {"prompts": {"a": {}}, "candidates": {"a": 1}, "recipes": {"default": {"set": {"gate.caution": 0.8}}}}
    assert read_recipes(file, Settings(), "r").recipes[0].settings.gate.caution == 0.8
    file["recipes"]["default"]["set"] = {"gate.folds": 3}
    with pytest.raises(SettingsError, match=r"set\.gate\.folds: a recipe sets"):
        read_recipes(file, Settings(), "r")


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ({"a-vote": {}}, "'a-vote' is no name"),
        ({"majority-vote": {}}, "'majority-vote' is no name"),
        ({"A b": {}}, "'A b' is no name"),
        ({"a": {"shots": 4}}, "name the retriever"),
        ({"a": {"retriever": "bm52"}}, "there is no retriever"),
        ({"a": {"shot": 4}}, "no such setting"),
        ({}, "at least 1"),
    ],
)
def test_prompts_that_cannot_be(prompts, said):
    file = {"prompts": prompts, "candidates": {"a": 1}, "recipes": {"default": {}}}
    with pytest.raises(SettingsError, match=said):
        read_recipes(file, Settings(), "recipes")


def test_a_file_is_named(tmp_path: Path):
    path = tmp_path / "recipes.yaml"
    path.write_text("prompts: {a: {}}\n")
    with pytest.raises(SettingsError, match=r"recipes\.yaml: 1 setting\(s\) to mend:\n  recipes"):
        load_recipes(path, Settings())
