"""Whatever is in a file is checked or refused, and never a traceback: wrong types anywhere, and YAML of all kinds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from good import SERVE, Objects, objects
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hydra_ray.cli import app
from hydra_ray.k8s.check import Report, check
from hydra_ray.k8s.check.reading.files import Together
from hydra_ray.k8s.check.reading.objects import Thing
from hydra_ray.k8s.check.reading.plain import PlainError, as_plain
from hydra_ray.k8s.check.run import check_together
from hydra_ray.k8s.check.schema.core import core_of

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


def below(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path in a tree."""
    yield path
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, one in pairs:
        yield from below(one, (*path, key))


@cache
def places() -> list[tuple[Any, ...]]:
    """Every path in the good objects."""
    return [path for path in below(objects()) if path]


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The tree with another value at a path."""
    *steps, last = path
    inner = tree
    for step in steps:
        inner = inner[step]
    inner[last] = value
    return tree


def checked(given: Objects) -> Report:
    report = Report()
    things = [Thing("all.yaml", as_plain(one)) for one in given.values()]
    check_together(Together(things), core_of(None), (), typer.main.get_command(app), report)
    assert all("\n" not in str(problem) for problem in report.problems)
    return report


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), ANYTHING)
def test_any_value_at_any_place_is_checked_or_refused(data, value):
    given = replaced(objects(), data.draw(st.sampled_from(places())), value)
    with contextlib.suppress(PlainError):
        checked({name: one for name, one in given.items() if isinstance(one, dict)})


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=40), st.integers(0, len(SERVE)))
@example("applications: [{import_path: 'hydra_ray.serve.app:build', deployments: [{name: 1}]}]", 0)
@example("applications: [{name: a, import_path: 'hydra_ray.serve.app:build', args: {tenants: 1}}]", 0)
def test_any_serve_config_is_checked_or_refused(text, place):
    given = {name: one for name, one in objects().items() if name == "RayService/hydra"}
    given["RayService/hydra"]["spec"]["serveConfigV2"] = text if place == 0 else SERVE[:place] + text
    checked(given)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), ANYTHING)
def test_any_value_in_a_serve_config_is_checked_or_refused(data, value):
    config = yaml.safe_load(SERVE)
    path = data.draw(st.sampled_from([path for path in below(config) if path]))
    given = {"RayService/hydra": objects()["RayService/hydra"]}
    given["RayService/hydra"]["spec"]["serveConfigV2"] = yaml.safe_dump(replaced(config, path, value))
    checked(given)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=60) | st.text(alphabet="abk:-[]{}&*!|>'\"#%@,?= \n\t1", max_size=60).map(str.encode))
@example(content=b"&a [*a]")
@example(content=b"a: &a\n  b: *a")
@example(content=b"1: 2")
@example(content=b"? [1, 2]\n: 3")
@example(content=b"!!binary aGk=")
@example(content=b"a: 2026-01-01\nkind: ConfigMap\napiVersion: v1")
@example(content=b"a: .nan")
@example(content=b"kind: List\napiVersion: v1\nitems: [1, {kind: Pod}]")
@example(content=b"[" * 500)
def test_any_file_is_read_or_refused(content, tmp_path):
    file = tmp_path / "any.yaml"
    file.write_bytes(content)
    for problem in check([file]).problems:
        assert problem.file == str(file)


def test_aliases_that_make_much_of_little_are_refused(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    file = tmp_path / "bomb.yaml"
    file.write_text("\n".join(lines))
    (problem,) = check([file]).problems
    assert "more than 200000 values" in problem.text


@pytest.mark.parametrize(
    ("value", "path"), [({"a": {1: 2}}, "a"), ({"a": [1, None]}, "a[1]"), ({"a.b": {"c": b"x"}}, '["a.b"].c')]
)
def test_what_no_json_has_is_named_with_its_place(value, path):
    with pytest.raises(PlainError) as error:
        as_plain(value)
    assert error.value.path == path


def test_a_file_that_is_a_folder_of_nothing_readable_is_told(tmp_path):
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "nowhere.yaml")
    problems = check([tmp_path]).problems
    assert [problem.file for problem in problems] == [str(Path(tmp_path / "loop.yaml"))]
