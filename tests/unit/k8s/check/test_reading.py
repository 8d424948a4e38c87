"""JSON is read as JSON, and nothing at all is a problem: a render that failed does not pass."""

from __future__ import annotations

import json

import pytest
from good import objects

from hydra_ray.k8s.check import check

SETTINGS = objects()["ConfigMap/settings"]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(SETTINGS, indent="\t"),
        json.dumps({**SETTINGS, "data": {"a": "\U0001f600"}}),
        json.dumps(SETTINGS) + "\n" + json.dumps({**SETTINGS, "metadata": {"name": "other"}}),
    ],
)
def test_valid_json_is_taken(content, tmp_path):
    file = tmp_path / "all.json"
    file.write_text(content, encoding="utf-8")
    assert check([file]).problems == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1, "a": 2}', 'the key "a" is there twice'),
        ('{"a": "\\ud83d"}', "half a surrogate pair"),
        ('{"a": NaN}', "NaN is no number"),
        ('{"a": \n1', "not valid JSON at line 2, column 2"),
        ("[" * 100_000, "not valid JSON"),
        ("1" * 10_000, "not valid JSON"),
        ("a: 1", "not valid JSON at line 1, column 1"),
        ("", "there is no object in it"),
    ],
)
def test_other_json_is_refused(content, said, tmp_path):
    file = tmp_path / "all.json"
    file.write_text(content)
    (problem,) = check([file]).problems
    assert problem.file == str(file)
    assert said in problem.text


@pytest.mark.parametrize("content", ["", "\n", "# nothing\n", "---\n---\n", "{apiVersion: v1, kind: List, items: []}"])
def test_a_file_without_an_object_is_a_problem(content, tmp_path):
    (tmp_path / "good.yaml").write_text(json.dumps(SETTINGS))
    file = tmp_path / "all.yaml"
    file.write_text(content)
    for path in (file, tmp_path):
        (problem,) = check([path]).problems
        assert (problem.file, problem.text) == (str(file), "there is no object in it: did what writes it fail?")


def test_a_kustomization_of_nothing_is_a_problem(tmp_path):
    (tmp_path / "kustomization.yaml").write_text("kind: Kustomization\nresources: []\n")
    (problem,) = check([tmp_path]).problems
    assert (problem.file, problem.object) == (str(tmp_path), "")
