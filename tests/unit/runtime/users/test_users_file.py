"""Files of user ids: what counts as an id, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hydra_ray.records import HydraError
from hydra_ray.runtime.loading import chosen_users
from hydra_ray.settings import Settings, parse_settings


@pytest.fixture
def settings(tmp_path) -> Settings:
    rows = [
        {"user_id": user, "input": "hi", "output": "ho", "ts": "2026"} for user in ("ann", "böb", "c d", "e\u2028f")
    ]
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = {"format": "records", "path": str(path), "dev_share": 1e-9}
    return parse_settings({"data": data, "users": str(tmp_path / "users.txt")})


def chosen(settings: Settings, content: bytes) -> list[str]:
    Path(settings.users).write_bytes(content)
    return [user.key.user for user in chosen_users(settings)[1].users]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ids_are_read_one_a_line_without_marks_and_blanks(settings, encoding, end):
    lines = end.join(["ann ", "", "böb", "ann", "\tc d", "e\u2028f", "  "])
    assert chosen(settings, lines.encode(encoding)) == ["ann", "böb", "c d", "e\u2028f"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("ann\n".encode("utf-16"), "users.txt: the file is UTF-16 or UTF-32, not UTF-8. Save the file as UTF-8."),
        (b"ann\nb\xf6b\n", "users.txt: byte 5 is not UTF-8. Save the file as UTF-8."),
        (b"ann\na\0b\n", "users.txt, line 2: the user id holds a zero or half a surrogate pair."),
        (b"ann\nzoe\n", "names 1 user(s) whom split train lacks: ['zoe']"),
    ],
)
def test_what_cannot_be_used_is_named(settings, content, told):
    with pytest.raises(HydraError) as caught:
        chosen(settings, content)
    assert told in str(caught.value)
