"""`benchmarks/recovery.py` tells what was as before from what was not."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture
def recovery(monkeypatch):
    for folder in (TESTS, TESTS / "cluster", TESTS.parent / "benchmarks"):
        monkeypatch.syspath_prepend(str(folder))
    import recovery

    return recovery


def test_an_application_is_as_it_was_after_the_last_answer_that_was_late_lame_or_none(recovery):
    asked = [
        *(recovery.Asked(at_s, 1.0, 200) for at_s in (0, 1, 2)),
        # Begun before the death, and answered after it.
        recovery.Asked(9.5, 1.0, 200),
        recovery.Asked(11, 4.0, 200),
        recovery.Asked(12, 1.0, 200, ("adapter",)),
        recovery.Asked(13, 0.5, 429),
        recovery.Asked(14, 0.5, 503),
        recovery.Asked(14, 0.5, 0),
        recovery.Asked(20, 1.4, 200),
    ]
    assert recovery._requests(asked, dies=10.0) == {
        "answers whole and as quick as before again, s": 5.0,
        "median before, s": 1.0,
        "longest after, s": 4.0,
        "asked": 7,
        "refused (429)": 1,
        "failed": 2,
        "degraded": 1,
        "without": "adapter 1",
    }
