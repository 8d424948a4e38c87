"""Rows of feedback in one file: readable under any name, and erasable whenever its writer is killed."""

import shutil

import pytest

from hydra_ray.learn.collect.rows import AdapterRow, ExampleKey
from hydra_ray.learn.collect.rows_by_user import RowsByUser
from hydra_ray.records import UserKey
from hydra_ray.rights.erasure.files import erase_in
from hydra_ray.rights.erasure.search import holds
from hydra_ray.rights.erasure.telltale import Telltale

ANN = UserKey("acme", "ann")
SAID = "quokkas are what ann always writes about"


class Feedback:
    """Rows of one user; `watch` is called when all but the last were taken."""

    def __init__(self, count, watch=lambda: None):
        self._count, self._watch = count, watch

    def rows(self, kind):
        for number in range(self._count if kind is AdapterRow else 0):
            if number == self._count - 1:
                self._watch()
            key = ExampleKey(*ANN, f"q{number}", False)
            yield AdapterRow(key, SAID * 100, "sad", (), ("sad", "funny"), (3, number), (1.0, 0.5))


@pytest.mark.parametrize("name", ["a#b", "a?b", "a%20b", "a b"])
def test_a_folder_may_have_any_name(tmp_path, name):
    rows = RowsByUser.made(tmp_path / name / "feedback.db", Feedback(3))
    assert [row.key.query_id for row in rows.read(AdapterRow, [ANN])] == ["q0", "q1", "q2"]


def test_what_a_killed_writer_leaves_is_erased(tmp_path):
    left = tmp_path / "left"
    # So much that SQLite writes before the transaction ends.
    feedback = Feedback(3_000, lambda: shutil.copytree(tmp_path / "features", left))
    RowsByUser.made(tmp_path / "features" / "feedback.db", feedback)
    said = Telltale()
    said.add([SAID])
    files = list(left.iterdir())
    assert any(holds(path, said) for path in files), "nothing was written yet"
    assert [one.what for path in files for one in erase_in(path, [ANN], said)] == ["unfinished file"]
    assert not any(holds(path, said) for path in files)
