"""Texts of users as data: what a chat template could take for the end of a turn is taken apart."""

from __future__ import annotations

import regex

# Tokens by which chat templates separate turns, as families of LLMs write them. Servers that tokenize a rendered
# template read them in a turn's text, too.
_CONTROL = regex.compile(
    r"<[|｜][^<>|｜\s][^<>|｜]{0,62}[|｜]>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>",
    regex.IGNORECASE,
)


def as_data(text: str) -> str:
    """Return a text that ends no turn and begins none, whatever its writer put into it.

    A blank after the first sign makes words of a token. Other texts stay as they are.

    Args:
        text: Something that a user wrote or preferred, or that an LLM wrote of them.
    """
    return _CONTROL.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
