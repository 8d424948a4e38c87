"""Answers that are JSON: which keep to a schema, and which schemas may be asked for."""

import json
import re

import pytest

from hydra_ray.steps.formats import check_schema, is_valid, same_value

OBJECT = json.dumps({"type": "json_object"})


def by_schema(schema):
    return json.dumps({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


TAGGED = {"type": "object", "properties": {"tag": {"enum": ["calm", "loud"]}}, "required": ["tag"]}


@pytest.mark.parametrize(
    ("text", "wanted", "valid"),
    [
        ("anything", "", True),
        ('{"a": 1}', OBJECT, True),
        ("[1]", OBJECT, False),
        ('{"a": 1', OBJECT, False),
        ("```json\n{}\n```", OBJECT, False),
        ("[" * 100_000, OBJECT, False),
        ('{"tag": "calm"}', by_schema(TAGGED), True),
        ('{"tag": "quiet"}', by_schema(TAGGED), False),
        ("{}", by_schema(TAGGED), False),
        ("[1]", json.dumps({"type": "json_schema", "json_schema": {"name": "any"}}), True),
        ('"abc"', by_schema({"pattern": "^a.c$"}), True),
        ('"abd"', by_schema({"pattern": "^a.c$"}), False),
        # What takes for ever, or cannot be found, is not kept to.
        (json.dumps("a" * 40 + "b"), by_schema({"pattern": "^(a|aa)+$"}), False),
        ("1", by_schema({"$ref": "#"}), False),
        ("1", by_schema({"$ref": "http://127.0.0.1:9/schema.json"}), False),
    ],
)
def test_an_answer_is_valid_where_it_has_the_form(text, wanted, valid):
    assert is_valid(text, wanted) == valid


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ([], "an object is wanted"),
        ({"type": "text"}, "['type']: 'text' is not valid"),
        ({"properties": {"a": {"patternProperties": {"(a+)+": {}}}}}, "patternProperties is not permitted"),
    ],
)
def test_a_schema_that_cannot_be_kept_to_is_refused(schema, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_schema(schema)


def test_a_schema_that_is_nested_too_deeply_is_refused():
    schema = {}
    for _ in range(100):
        schema = {"not": schema}
    with pytest.raises(ValueError, match="nested"):
        check_schema(schema)


def test_values_are_the_same_however_they_are_written():
    assert same_value('{"a": 1, "b": 2}') == same_value('{ "b":2,"a":1 }') != same_value('{"a": 2}')
    assert same_value("no JSON") == "no JSON"
