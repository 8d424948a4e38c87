"""Settings reach what is made of them."""

from dataclasses import fields, replace

import pytest

from hydra_ray.learn.assembly import asked_with, make_questions, make_recipe
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


def test_feedback_depends_on_what_the_llm_is_shown_and_asked(tag_task):
    first = asked_with(parse_settings({}), tag_task)
    assert (
        asked_with(parse_settings({"seed": 3, "method": {"decide": "preferred"}, "base": {"epochs": 1}}), tag_task)
        == first
    )
    another_split = replace(tag_task, labels=tag_task.labels[::-1], instruction="Which of these tags?")
    assert asked_with(parse_settings({}), another_split) == first, "a data set's splits are one"
    others = [
        asked_with(parse_settings(sections), tag_task)
        for sections in (
            {"generator": {"model": "other"}},
            {"method": {"shots": 1}},
            {"method": {"shot_chars": 100}},
            {"method": {"stemmer": "german"}},
            {"feedback": {"items": 1}},
            {"data": {"instruction": "Tag it"}},
        )
    ] + [asked_with(parse_settings({}), replace(tag_task, labels=tag_task.labels[:2]))]
    assert first not in others
    # Folders that were begun before these settings were know nothing of them.
    assert first["method.shot_chars"] is first["method.stemmer"] is None


def test_a_stemmer_and_a_cut_in_characters_reach_what_uses_them(tag_task):
    settings = parse_settings({"method": {"stemmer": "german", "shot_chars": 7}})
    questions = make_questions(settings, tag_task)
    assert (questions.recipe.stemmer, questions.prompter.shot_chars) == ("german", 7)
