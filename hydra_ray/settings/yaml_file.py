"""Reads YAML that people write: a key that is there twice is an error, not a section lost in silence."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from hydra_ray.utf8 import EncodingError, decode


class YAMLFileError(ValueError):
    """YAML that cannot be used; the message reads on from the file's name, on one line."""


class _Loader(yaml.SafeLoader):
    """PyYAML's, which keeps the last of two values without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            # "<<" merges other mappings, whose keys these may say anew.
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if isinstance(key, Hashable) and lines.setdefault(key, line) != line:
                raise YAMLFileError(
                    f'ambiguous: the key "{key}" is there twice, in lines {lines[key]} and {line}. Make one of them.'
                )
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The value of a YAML file.

    Raises:
        OSError: The file cannot be read.
        YAMLFileError: It is no YAML, no UTF-8, or says a key twice.
    """
    try:
        return parse_yaml(decode(path.read_bytes()))
    except EncodingError as error:
        raise YAMLFileError(str(error)) from None


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        YAMLFileError: It is no YAML, or says a key twice.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise YAMLFileError(f"not valid YAML{at}: {error.problem or error.context}.") from None
    except YAMLFileError:
        raise
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise YAMLFileError(f"not valid YAML: {' '.join(str(error).split())}.") from None
