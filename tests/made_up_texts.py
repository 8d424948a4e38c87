"""Texts that encoders read in tests."""

LONG = "robot " * 200
DECISIONS = [
    ("drama", "two cats meet", ("comedy", "drama")),
    ("comedy", "two cats meet", ("comedy", "drama")),
    ("sci-fi: a robot falls", LONG, ()),
    (LONG, "a robot", ("sci-fi", "comedy", "sci-fi")),
    ("drama", "", ()),
    ("drama", "drama", ("x | y",)),
]
