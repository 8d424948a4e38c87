"""Users are exported and imported whole, in any order and number, with little memory."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stored_users import ANN, BOB, EVE, content, without_encodings

from hydra_ray.records import HistoryItem, HydraError, Usage, UserKey
from hydra_ray.store.backends import open_store
from hydra_ray.store.bulk import rows as bulk_rows
from hydra_ray.store.bulk import users as bulk_users
from hydra_ray.store.bulk.parquet import _TYPES
from hydra_ray.store.bulk.rows import all_tables, user_tables
from hydra_ray.store.bulk.users import export_users, import_users
from hydra_ray.store.bulk.whole import restore
from hydra_ray.store.completions.log import CompletionLog
from hydra_ray.store.completions.records import Completion
from hydra_ray.store.schema import open_database
from hydra_ray.store.tables import METADATA

# Of nobody: without a text.
COMPLETION = Completion(
    id="chatcmpl-1",
    request_id="req-1",
    tenant="acme",
    user=None,
    created_s=1_000_000.0,
    version="v1",
    method="rag",
    arm=None,
    propensity=1.0,
    head="none",
    input=None,
    history=(),
    candidates=(),
    answered=0,
    degraded=(),
    usage=Usage(1, 3, 2),
    seconds=0.5,
    streamed=False,
)


def test_exported_users_are_imported_as_they_were(filled, empty, tmp_path):
    rows = export_users(filled, tmp_path / "users", None, ())
    assert {name: number for name, number in rows.items() if number} == {
        "history": 4,
        "history_versions": 3,
        "heads": 3,
        "evidence": 2,
        "item_encodings": 2,
        "profiles": 1,
        "profile_peers": 1,
        "tombstones": 1,
    }
    assert import_users(empty(), tmp_path / "users", replace=False) == 3
    assert content(empty())[0] == without_encodings(content(filled)[0])


def test_encodings_of_before_they_had_another_key_are_made_anew(filled, empty, tmp_path):
    export_users(filled, tmp_path / "users", None, ())
    # Two items that say the same had a row each.
    path = tmp_path / "users" / "item_encodings.parquet"
    rows = pq.read_table(path)
    pq.write_table(pa.concat_tables([rows, rows]), path)
    edit_counts(tmp_path / "users", item_encodings=4)
    assert import_users(empty(), tmp_path / "users", replace=False) == 3
    assert restore(empty("restored"), tmp_path / "users", replace=False)["item_encodings"] == 0
    store = open_store(empty())
    assert (len(store.history(ANN)), store.records.counts(ANN)["item_encodings"]) == (2, 0)
    store.close()


def test_one_tenant_or_a_few_of_its_users_are_exported_alone(filled, empty, tmp_path):
    export_users(filled, tmp_path / "acme", "acme", ())
    assert import_users(empty("acme"), tmp_path / "acme", replace=False) == 2
    export_users(filled, tmp_path / "bob", "acme", ["Bob"])
    assert import_users(empty("bob"), tmp_path / "bob", replace=False) == 1
    store = open_store(empty("bob"))
    assert list(store.histories("acme")) == [BOB]
    assert store.histories("other") == {}
    store.close()
    with pytest.raises(HydraError, match="knows nobody of tenant 'acme'"):
        export_users(filled, tmp_path / "none", "acme", ["nobody"])
    assert not (tmp_path / "none").exists()


def test_users_who_are_there_stay_unless_they_may_be_replaced(filled, tmp_path):
    export_users(filled, tmp_path / "users", None, ())
    before, marks = content(filled)
    store = open_store(filled)
    store.append_history(ANN, HistoryItem("later", "a", "b"))
    late = store.history_version(ANN)
    store.append_history(UserKey("acme", "new"), HistoryItem("1", "a", "b"))
    store.delete(EVE)
    with pytest.raises(HydraError, match=r"user 'Bob' of tenant 'acme' is in .* already; --replace"):
        import_users(filled, tmp_path / "users", replace=False)
    assert store.history(EVE) == ()
    assert import_users(filled, tmp_path / "users", replace=True) == 3
    assert content(filled)[0] == without_encodings(before)
    assert len(store.history(UserKey("acme", "new"))) == 1
    # A version of before never stands for what is there now.
    assert store.history_version(ANN) not in (late, marks[ANN][0])
    store.close()


def test_many_users_pass_in_small_pieces(url, empty, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk_rows, "_ROWS", 50)
    monkeypatch.setattr(bulk_users, "_USERS", 7)
    store = open_store(url)
    names = [f"{sign}{number}" for sign in ("a", "B", "é", "日", "_") for number in range(20)]
    histories = {UserKey("acme", name): [HistoryItem(str(n), name, "x") for n in range(3)] for name in names}
    store.put_histories(histories)
    store.close()
    target = bulk_users.StoreTarget.of(url)
    export_users(target, tmp_path / "users", None, ())
    assert pq.ParquetFile(tmp_path / "users" / "history.parquet").num_row_groups == 6
    largest, write = [], bulk_users._write
    monkeypatch.setattr(
        bulk_users, "_write", lambda db, tables, batch: largest.append(len(batch)) or write(db, tables, batch)
    )
    assert import_users(empty(), tmp_path / "users", replace=False) == 100
    assert max(largest) == 7
    copy = open_store(empty())
    assert copy.histories("acme") == histories
    copy.close()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "manifest.json is missing or damaged"),
        (lambda folder: (folder / "history.parquet").unlink(), "history.parquet: missing or damaged"),
        (lambda folder: (folder / "history.parquet").write_bytes(b"PAR1"), "history.parquet: missing or damaged"),
        (lambda folder: edit(folder, format="hydra-ray/store/v9"), "format 'hydra-ray/store/v9' is not known"),
        (lambda folder: edit(folder, rows={"history": 9}), "4 rows, the manifest says 9"),
        (lambda folder: edit(folder, rows={"new": 9}), "table 'new' is not known here: read it with the version that"),
    ],
)
def test_what_is_damaged_or_newer_is_named(damage, told, filled, empty, tmp_path):
    export_users(filled, tmp_path / "users", None, ())
    damage(tmp_path / "users")
    with pytest.raises(HydraError, match=told) as caught:
        import_users(empty(), tmp_path / "users", replace=False)
    assert "\n" not in str(caught.value)


def edit(folder, **other):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **other}))


def edit_counts(folder, **other):
    rows = json.loads((folder / "manifest.json").read_text())["rows"]
    edit(folder, rows={**rows, **other})


def test_every_table_can_be_written_and_read():
    assert {table.name for table in all_tables()} == set(METADATA.tables) - {"deletions"}
    for table in all_tables():
        assert {column.type.python_type for column in table.columns} <= set(_TYPES), table.name
        assert len(table.primary_key) > 0, table.name
    assert {"history", "heads", "evidence", "profiles", "profile_peers", "history_versions"} <= {
        table.name for table in user_tables()
    }


def test_completions_of_nobody_stay_where_they_are(filled, empty, tmp_path):
    target = empty()
    for at, name in ((filled, "here"), (target, "there")):
        database = open_database(at)
        CompletionLog(database).add([replace(COMPLETION, id=name)])
        database.close()
    export_users(filled, tmp_path / "users", None, ())
    assert import_users(target, tmp_path / "users", replace=False) == 3
    assert import_users(target, tmp_path / "users", replace=True) == 3
    database = open_database(target)
    log = CompletionLog(database)
    assert log.find("acme", "there") is not None
    assert log.find("acme", "here") is None
    database.close()


def drop_column(folder, table, column):
    path = folder / f"{table}.parquet"
    pq.write_table(pq.read_table(path).drop_columns([column]), path)


def test_what_an_earlier_version_did_not_know_yet_has_no_value(filled, empty, tmp_path):
    # Who a history item came from may be unknown; its text may not.
    export_users(filled, tmp_path / "users", None, ())
    drop_column(tmp_path / "users", "history", "ts")
    assert import_users(empty(), tmp_path / "users", replace=False) == 3
    store = open_store(empty())
    assert [item.ts for item in store.history(ANN)] == [None, None]
    store.close()
    drop_column(tmp_path / "users", "history", "output")
    with pytest.raises(HydraError, match="read it with the version that wrote it"):
        import_users(empty("another"), tmp_path / "users", replace=False)
