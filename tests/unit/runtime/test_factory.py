"""Settings reach what is made of them."""

from dataclasses import fields, replace

import pytest

from hydra_ray.learn.collect.setup import collection_settings, make_request_writer
from hydra_ray.runtime.factory import make_recipe
from hydra_ray.runtime.generators import calls_for_candidates, dialect_file, generator_identity, known_dialect
from hydra_ray.settings import parse_settings
from hydra_ray.steps.generate.endpoint.dialect import Dialect
from hydra_ray.steps.generate.endpoint.dialect_file import DialectFile

# Beside those that have a setting's name.
OTHERWISE = {"expected", "history_answers", "profile_template", "seed"}


@pytest.mark.parametrize("preset", ["", "paper"])
def test_the_methods_numbers_are_those_of_the_settings(preset):
    # None of them as the recipe has it by itself.
    odd = {"profile": "dpl", "retriever": "recent", "retrieve": 9, "shots": 3, "candidates": 5}
    settings = parse_settings({"preset": preset, "seed": 3, "method": odd})
    recipe = make_recipe(settings)
    told = {field.name: getattr(recipe, field.name) for field in fields(recipe) if field.name not in OTHERWISE}
    assert told == {name: getattr(settings.method, name) for name in told}
    assert recipe.expected == (preset == "")
    assert (recipe.seed, recipe.profile_template) == (3, settings.profile.prompts.telling)
    assert recipe.history_answers == settings.method.history_answers
    assert recipe.allowed_answers == (64 if preset == "" else 0)


def test_feedback_depends_on_what_the_llm_is_shown_and_asked(tag_task):
    first = collection_settings(parse_settings({}), tag_task)
    assert (
        collection_settings(
            parse_settings({"seed": 3, "method": {"decide": "preferred"}, "base": {"epochs": 1}}), tag_task
        )
        == first
    )
    another_split = replace(tag_task, labels=tag_task.labels[::-1], instruction="Which of these tags?")
    assert collection_settings(parse_settings({}), another_split) == first, "a data set's splits are one"
    others = [
        collection_settings(parse_settings(sections), tag_task)
        for sections in (
            {"generator": {"model": "other"}},
            {"generator": {"backend": "openai", "params": {"top_p": 0.5}}},
            {"method": {"shots": 1}},
            {"method": {"shot_chars": 100}},
            {"method": {"stemmer": "german"}},
            {"feedback": {"items": 1}},
            {"data": {"instruction": "Tag it"}},
        )
    ] + [collection_settings(parse_settings({}), replace(tag_task, labels=tag_task.labels[:2]))]
    assert first not in others
    # Folders that were begun before these settings were know nothing of them.
    assert first["method.shot_chars"] is first["method.stemmer"] is None


def openai(**more):
    return parse_settings({"generator": {"backend": "openai", "base_url": "http://x/v1", "model": "m", **more}})


def test_kept_answers_depend_on_what_is_sent_and_stay_of_use_where_nothing_more_is():
    # As answers were kept before there were such settings.
    assert generator_identity(openai()) == "openai|http://x/v1|m|float32"
    assert generator_identity(openai(dialect={"samples": 1}, send_seed=False)) == generator_identity(openai())
    others = [
        openai(params={"top_p": 0.5}),
        openai(params={"top_p": 0.6}),
        openai(extra_body={"top_p": 0.5}),
        openai(extra_body={"chat_template_kwargs": {"enable_thinking": False}}),
        openai(reasoning_tokens=100),
    ]
    assert len({generator_identity(one) for one in (*others, openai())}) == 6
    same = openai(extra_body={"b": 1, "a": {"d": 1, "c": 2}}), openai(extra_body={"a": {"c": 2, "d": 1}, "b": 1})
    assert generator_identity(same[0]) == generator_identity(same[1])


def test_candidates_cost_what_is_known_of_the_endpoint(tmp_path, tag_task):
    settings = openai(cache=tmp_path, base_url="http://me:secret@x/v1/?key=secret")
    assert (known_dialect(settings), calls_for_candidates(settings, tag_task)) == (Dialect(), 2)
    DialectFile(dialect_file(settings)).put("http://x/v1", "m", Dialect(samples=3))
    # A greedy answer, and seven samples, three at a time.
    assert calls_for_candidates(settings, tag_task) == 4
    assert "secret" not in dialect_file(settings).read_text()
    told = openai(cache=tmp_path, dialect={"samples": 1})
    assert (known_dialect(told).samples, calls_for_candidates(told, tag_task)) == (1, 8)
    assert calls_for_candidates(openai(cache=tmp_path, model="other"), tag_task) == 2
    assert calls_for_candidates(parse_settings({"generator": {"cache": str(tmp_path)}}), tag_task) == 2


def test_a_stemmer_and_a_cut_in_characters_reach_what_uses_them(tag_task):
    settings = parse_settings({"method": {"stemmer": "german", "shot_chars": 7}})
    questions = make_request_writer(settings, tag_task)
    assert (questions.recipe.stemmer, questions.prompter.shot_chars) == ("german", 7)
