"""Conversations as an endpoint wants them, where it does not take every order of roles."""

from __future__ import annotations

from collections.abc import Sequence

# Role and text of each message, in order.
Turns = list[tuple[str, str]]

INSTRUCTING = ("system", "developer")
# Said by nobody, where a conversation must not begin with the LLM's own turn.
_BEFORE_ALL = "..."


def alternates(roles: Sequence[str]) -> bool:
    """Return whether user and LLM take turns, the user first."""
    return all(role == ("user", "assistant")[i % 2] for i, role in enumerate(roles))


def system_first(turns: Turns) -> Turns:
    """Return the conversation with all instructions in one message before it."""
    system = [text for role, text in turns if role in INSTRUCTING]
    rest = [turn for turn in turns if turn[0] not in INSTRUCTING]
    # One that is alone keeps its role.
    role = next((role for role, _ in turns if role in INSTRUCTING), "system")
    return [(role, "\n\n".join(system)), *rest] if system else rest


def system_as_text(turns: Turns) -> Turns:
    """Return the conversation with the instructions, which come first, at the head of the user's first message."""
    if not turns or turns[0][0] not in INSTRUCTING:
        return turns
    (_, system), *rest = turns
    if rest and rest[0][0] == "user":
        return [("user", f"{system}\n\n{rest[0][1]}"), *rest[1:]]
    return [("user", system), *rest]


def taking_turns(turns: Turns) -> Turns:
    """Return the conversation with neighbours of one role joined, so that user and LLM take turns."""
    merged: Turns = []
    for role, text in turns:
        if merged and merged[-1][0] == role:
            merged[-1] = (role, f"{merged[-1][1]}\n\n{text}")
        else:
            merged.append((role, text))
    first = 1 if merged and merged[0][0] in INSTRUCTING else 0
    if first < len(merged) and merged[first][0] == "assistant":
        merged.insert(first, ("user", _BEFORE_ALL))
    return merged
