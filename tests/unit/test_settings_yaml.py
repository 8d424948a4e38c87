"""YAML that people write: marks of editors, keys that are there twice, and what is said about the rest."""

import pytest

from hydra_ray.learn.tune.space import load_search
from hydra_ray.settings import SettingsError, load_settings
from hydra_ray.settings.files.yaml_file import parse_yaml


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("generator: {model: a}\nseed: 1\ngenerator: {concurrency: 3}\n", "generator", "1 and 3"),
        ("data:\n  format: records\n  path: a\n  format: chat\n", "format", "2 and 4"),
        ("seed: 1\nseed: 1\n", "seed", "1 and 2"),
        ("base: {epochs: 1, epochs: 2}", "epochs", "1 and 1"),
        ("generator:\n  engine:\n    - {a: 1}\n    - {b: 1,\n       b: 2}\n", "b", "4 and 5"),
    ],
)
def test_a_key_that_is_there_twice_is_an_error_with_both_lines(tmp_path, text, key, lines):
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(f'{path}: ambiguous: the key "{key}" is there twice, in lines {lines}.')
    assert "\n" not in str(caught.value)


def test_searches_are_read_as_strictly(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("space: {lr: {choice: [0.1]}}\ntrials: 3\ntrials: 5\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r'the key "trials" is there twice, in lines 2 and 3\.'):
        load_search(path)


def test_merged_mappings_may_be_overridden():
    text = "outer: {a: &a {<<: &b {x: 0, y: 0}, x: 1}}\nc: {<<: *a, y: 2}\nd: {<<: [*a, *b], x: 3}\n"
    assert parse_yaml(text) == {
        "outer": {"a": {"x": 1, "y": 0}},
        "c": {"x": 1, "y": 2},
        "d": {"x": 3, "y": 0},
    }


def test_keys_of_different_mappings_do_not_meet():
    assert parse_yaml("a: {x: 1}\nb: {x: 1}\n'1': c\n1: d\n") == {"a": {"x": 1}, "b": {"x": 1}, "1": "c", 1: "d"}


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbfseed: 7\n")
    assert load_settings(path).seed == 7


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_unicode_encodings_are_named(tmp_path, encoding):
    path = tmp_path / "s.yaml"
    path.write_bytes("seed: 7\n".encode(encoding))
    with pytest.raises(SettingsError, match=r"s\.yaml: the file is UTF-16 or UTF-32, not UTF-8\. Save the file as"):
        load_settings(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: b: c", "not valid YAML at line 1, column 5: mapping values are not allowed here."),
        ("a: 2026-02-31", "not valid YAML: day is out of range for month."),
        ("a: 1\n---\nb: 2", "not valid YAML at line 2, column 1: but found another document."),
        (
            "a: *.jsonl",
            "not valid YAML at line 1, column 5: expected alphabetic or numeric character, but found '.'. Put a ",
        ),
        (
            "a: **/*.gz",
            "not valid YAML at line 1, column 5: expected alphabetic or numeric character, but found '*'. Put a ",
        ),
        ("a: *gone", "not valid YAML at line 1, column 4: found undefined alias 'gone'. Put a text that begins with "),
        ('a:\n- "\\ud800"', "half a surrogate pair is in a text of line 2, which no file takes. Take it out."),
        ('"\\udfff": 1', "half a surrogate pair is in a text of line 1, which no file takes. Take it out."),
        ("a: !!python/none", "not valid YAML at line 1, column 4: could not determine a constructor for the tag"),
    ],
)
def test_what_is_no_yaml_is_said_on_one_line(tmp_path, text, told):
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(f"{path}: {told}")
    assert "\n" not in str(caught.value)
