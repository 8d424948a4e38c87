"""Reads YAML that people write: a key that is there twice is an error, not a section lost in silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from hydra_ray.utf8 import EncodingError, decode


class YAMLFileError(ValueError):
    """YAML that cannot be used; the message reads on from the file's name, on one line."""


class _Loader(yaml.SafeLoader):
    """PyYAML's, which keeps the last of two values, and half a surrogate pair, without a word."""

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and any("\ud800" <= sign <= "\udfff" for sign in value):
            line = node.start_mark.line + 1
            raise YAMLFileError(f"half a surrogate pair is in a text of line {line}, which no file takes. Take it out.")
        return value

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not where values are made: "<<" has not yet brought in the keys of other mappings.
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise YAMLFileError(
                    f'ambiguous: the key "{key.value}" is there twice, in lines {lines[name]} and {line}. Make one of '
                    "them."
                )
            lines[name] = line
        return node


class _DocumentLoader(_Loader):
    """Takes a date for a text."""


_DocumentLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path) -> Any:
    """Return the value of a YAML file.

    Raises:
        OSError: The file cannot be read.
        YAMLFileError: The file is no YAML, no UTF-8, or says a key twice.
    """
    try:
        return parse_yaml(decode(path.read_bytes()))
    except EncodingError as error:
        raise YAMLFileError(str(error)) from None


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        YAMLFileError: The text is no YAML, or says a key twice.
    """
    with _told_in_a_line():
        return yaml.load(text, _Loader)


def parse_documents(text: str) -> list[Any]:
    """Return the values of all documents of a YAML text, in which dates stay texts, as Kubernetes reads them.

    Raises:
        YAMLFileError: The text is no YAML, or says a key twice.
    """
    with _told_in_a_line():
        return list(yaml.load_all(text, _DocumentLoader))


@contextmanager
def _told_in_a_line() -> Iterator[None]:
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        # A glob is no alias, but begins like one.
        alias = error.context == "while scanning an alias" or str(error.problem).startswith("found undefined alias")
        way_out = ' Put a text that begins with "*" in quotes.' if alias else ""
        raise YAMLFileError(f"not valid YAML{at}: {error.problem or error.context}.{way_out}") from None
    except YAMLFileError:
        raise
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise YAMLFileError(f"not valid YAML: {' '.join(str(error).split())}.") from None
