"""A check names what does not fit together, and is content with what does."""

import pytest
from sqlalchemy import create_engine, text

from hydra_ray.store.bulk.check import check_store


def test_a_store_that_fits_together_has_no_problems(filled):
    report = check_store(filled)
    assert report.problems == {}
    assert report.notes == ["1 observations are of items in no history: rejections, and queries that were fitted from"]
    assert (report.rows["history"], report.rows["heads"]) == (4, 3)


DAMAGES = {
    "histories without a version": (
        "delete from history_versions where \"user\" = 'ann'",
        "'ann' of tenant 'acme'",
    ),
    "two items at one place": ("update history set place = 0", "'ann' of tenant 'acme' 0"),
    "next place is not above": ("update history_versions set next_place = 2 where \"user\" = 'ann'", "'acme' 2 2"),
    "profiles of users without history": (
        "delete from history where \"user\" = 'ann'",
        "'ann' of tenant 'acme' dpl",
    ),
    "profiles made with users without history": ("delete from history where \"user\" = 'Bob'", "'acme' dpl Bob"),
    "peers of profiles that are not there": ("delete from profiles", "'ann' of tenant 'acme' dpl"),
    "observations without a head": ("delete from heads where \"user\" = 'ann'", "'acme' adapter v1"),
    "heads of kind bases without observations": ("delete from evidence", "'ann' of tenant 'acme' adapter v1"),
    "damaged observations": ("update evidence set told = :bytes where item = 'rejected'", "adapter v1 'rejected': "),
    "damaged heads": (
        "update heads set head = :bytes where \"user\" = 'Bob'",
        "'Bob' of tenant 'acme' adapter v1: ",
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_what_does_not_fit_together_is_named(kind, filled):
    statement, named = DAMAGES[kind]
    engine = create_engine(filled.url)
    with engine.begin() as db:
        db.execute(text(statement), {"bytes": b"odd"} if ":bytes" in statement else {})
    engine.dispose()
    report = check_store(filled)
    (found,) = [lines for name, lines in report.problems.items() if name.startswith(kind)]
    assert len(found) == 1
    assert named in found[0]
    lines = list(report.lines())
    assert any(line.startswith(kind) and line.endswith(": 1") for line in lines)
    assert not any("\n" in line for line in lines)


def test_a_head_of_a_kind_that_is_not_known_is_named(filled):
    from stored_users import BOB, HEAD

    from hydra_ray.models.heads import Head
    from hydra_ray.store.backends import open_store

    store = open_store(filled)
    store.put_heads("v1", "adapter", {BOB: Head("newer", HEAD.tensors)})
    store.close()
    assert list(check_store(filled).problems.values()) == [["user 'Bob' of tenant 'acme' adapter v1: 'newer'"]]
