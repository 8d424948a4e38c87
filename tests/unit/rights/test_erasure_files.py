"""Each kind of file without a user: their rows go, others' stay, and what others' rows tell of them is blanked."""

import json
import sqlite3

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from hydra_ray.cli import app
from hydra_ray.learn.examples.features import write_features
from hydra_ray.models.features import UserFeatures
from hydra_ray.models.heads import Head
from hydra_ray.records import ChatRequest, Generation, HistoryItem, Message, Usage, UserKey
from hydra_ray.registry.manifest import user_digest
from hydra_ray.rights.erasure.files import erase_in
from hydra_ray.rights.erasure.job import erase_users
from hydra_ray.rights.erasure.search import holds
from hydra_ray.rights.erasure.telltale import Telltale
from hydra_ray.rights.erasure.versions import versions_fitted_with
from hydra_ray.settings import load_settings, parse_settings
from hydra_ray.steps.generate.cache import AnswerCache, ask_key
from hydra_ray.store.backends import BACKENDS, open_store
from hydra_ray.store.shards import export_heads, import_heads
from hydra_ray.store.sql import SqlStore
from hydra_ray.store.types import ProfileFingerprint, UserProfile

ANN, BOB, NAMESAKE = UserKey("acme", "ann"), UserKey("acme", "bob"), UserKey("zeta", "ann")
SAID = "quokkas are what ann always writes about"


@pytest.fixture
def said():
    made = Telltale()
    made.add([SAID])
    return made


def erased(path, said):
    return [(one.what, one.count) for one in erase_in(path, [ANN], said)]


def test_rows_go_and_what_others_rows_tell_is_blanked(tmp_path, said):
    path = tmp_path / "run.parquet"
    rows = [
        {**key._asdict(), "prompt": [{"role": "user", "content": text}], "number": place}
        for place, (key, text) in enumerate([(ANN, "hers"), (BOB, f"see {SAID}"), (NAMESAKE, "another's"), (ANN, "x")])
    ]
    table = pa.Table.from_pylist(rows).replace_schema_metadata({b"hydra-ray": b"about"})
    pq.write_table(table, path, compression="zstd")
    assert erased(path, said) == [("rows", 2), ("rows of others that told of them", 1)]
    after = pq.read_table(path)
    assert after.schema == table.schema
    assert after.schema.metadata == table.schema.metadata
    assert [(row["number"], row["prompt"]) for row in after.to_pylist()] == [
        (1, [{"role": "user", "content": ""}]),
        (2, [{"role": "user", "content": "another's"}]),
    ]
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    before = path.stat()
    assert erased(path, said) == []
    assert path.stat() == before, "nothing is written where nothing is theirs"


def test_a_shard_of_features_goes_as_a_whole(tmp_path, said):
    path = tmp_path / "features-v1" / "adapter" / "ab.parquet"
    one = UserFeatures(torch.ones(2, 4), torch.tensor([2]), torch.ones(2), torch.zeros(2), ("1",))
    write_features(path, [(BOB, one)])
    assert erased(path, said) == []
    write_features(path, [(ANN, one), (BOB, one)])
    assert erased(path, said) == [("file of features", 1)]
    assert not path.exists()


def test_lines_of_predictions_go(tmp_path, said):
    path = tmp_path / "predictions.jsonl"
    lines = [{"id": "1", "user_id": "ann", "output": "x"}, {"id": "2", "user_id": "bob", "output": "\u738b"}]
    lines += [{"id": "3", "user_id": "bob", "output": f"as {SAID}"}, {"tenant": "zeta", "user": "ann"}]
    kept = json.dumps(lines[1], ensure_ascii=False)
    path.write_text("\n".join([json.dumps(lines[0]), kept, *map(json.dumps, lines[2:]), "not JSON"]) + "\n")
    assert erased(path, said) == [("lines", 2)]
    first, second, third, last = path.read_text().splitlines()
    assert (first, last) == (kept, "not JSON")
    assert json.loads(second) == {**lines[2], "output": ""}
    assert json.loads(third) == lines[3]


def test_signs_that_end_lines_elsewhere_end_none_of_json(tmp_path, said):
    path = tmp_path / "predictions.jsonl"
    lines = [{"user_id": user, "output": "one\u2028two\x85three"} for user in ("ann", "bob")]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    assert erased(path, said) == [("lines", 1)]
    assert json.loads(path.read_text(encoding="utf-8")) == lines[1]


def test_a_list_of_users_names_them_no_more(tmp_path, said):
    path = tmp_path / "users.txt"
    path.write_text("ann\nanna\nbob\n")
    assert erased(path, said) == [("lines", 1)]
    assert path.read_text() == "anna\nbob\n"


def test_a_file_that_a_killed_writer_left_goes_if_it_tells_of_them(tmp_path, said):
    one, other = tmp_path / "a.parquet.123.partial", tmp_path / "b.partial"
    one.write_text(SAID)
    other.write_text("else")
    assert erased(one, said) == [("unfinished file", 1)]
    assert erased(other, said) == []
    assert (one.exists(), other.exists()) == (False, True)


def test_a_file_that_is_there_no_more_is_no_concern(tmp_path, said):
    for name in ("answers.sqlite-shm", "a.partial", "b.jsonl", "c.parquet", "users.txt", "d.safetensors"):
        assert erased(tmp_path / name, said) == []
        assert not holds(tmp_path / name, said)


def test_exported_heads_go_and_others_stay_as_they_were(store, tmp_path, said):
    heads = {key: Head("dense", {"w": torch.full((3,), float(n))}) for n, key in enumerate((ANN, BOB, NAMESAKE))}
    store.put_heads("v1", "adapter", heads, dict.fromkeys(heads, "mark"))
    store.put_observations("v1", "adapter", {key: {"1": b"told"} for key in heads})
    export_heads(store, "v1", "adapter", tmp_path / "heads")
    found = {path.name: erased(path, said) for path in sorted((tmp_path / "heads").iterdir())}
    assert found == {"adapter-00000.evidence.parquet": [("rows", 1)], "adapter-00000.safetensors": [("heads", 1)]}
    other = open_store("sqlite://")
    assert import_heads(other, "v1", "adapter", tmp_path / "heads") == 2
    assert other.users_with_head("v1", "adapter") == [BOB, NAMESAKE]
    assert other.head(NAMESAKE, "v1", "adapter").tensors["w"].tolist() == [2, 2, 2]
    other.close()


def test_a_copy_of_a_store_is_cleaned_as_a_store_is(store, tmp_path, said):
    store.put_histories({ANN: [HistoryItem("1", SAID, "x")], BOB: [HistoryItem("1", "his", "x")]})
    store.put_profiles([(BOB, UserProfile("dpl", "Unlike ann.", ProfileFingerprint("h", "w", 1), (ANN,)))])
    store.close()
    copy = tmp_path / "backup.db"
    copy.write_bytes((tmp_path / "users.db").read_bytes())
    ((what, count),) = erased(copy, said)
    assert (what, count >= 4) == ("rows", True)
    assert SAID.encode() not in copy.read_bytes()
    again = open_store(f"sqlite:///{copy}")
    assert (again.history(ANN), len(again.history(BOB)), again.profile(BOB, "dpl")) == ((), 1, None)
    again.close()


def test_answers_about_them_go_whoever_asked_and_others_stay(tmp_path, said):
    path = tmp_path / "acme.sqlite"
    cache = AnswerCache(path, 1 << 30)

    def keep(text, reply, *users):
        request = ChatRequest((Message("user", text),), users=users)
        cache.put(ask_key("llm", request), Generation((reply,), Usage(1)), request.users)
        return ask_key("llm", request)

    hers, his = keep("about ann", "comedy", ANN), keep("about bob", "comedy", BOB)
    shared = keep("about both", "drama", BOB, ANN)
    # Of before it was noted whom an answer is about: its words alone can tell.
    untold, plain = keep("who knows", f"well, {SAID}"), keep("who knows else", "war")
    # Bob asks the same, and is answered from what is kept.
    bare = keep("bare question", "horror", BOB)
    cache.get(bare, (ANN,))
    cache.close()
    assert erased(path, said) == [("answers of the LLM", 4)]
    cache = AnswerCache(path, 1 << 30)
    assert [ask in cache for ask in (hers, shared, untold, bare, his, plain)] == [False] * 4 + [True] * 2
    cache.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT DISTINCT user FROM asked_for").fetchall() == [("bob",)]
    db.close()
    assert erased(path, said) == []


def test_whom_an_answer_is_about_changes_nothing_of_what_it_is_kept_under():
    asked = Message("user", "?")
    assert ask_key("llm", ChatRequest((asked,), users=(ANN,))) == ask_key("llm", ChatRequest((asked,)))
    # As kept by 0.1.0.
    assert ask_key("llm", ChatRequest((asked,)))[:16] == "ffa029ced405bce9"


def test_published_versions_that_were_fitted_with_them_are_named(tmp_path):
    for version, listed in (("v1", [ANN, BOB]), ("v2", [BOB]), ("v3", None)):
        folder = tmp_path / "registry" / version
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(json.dumps({"version": version}))
        if listed is not None:
            (folder / "users.txt").write_text("".join(f"{user_digest(version, key)}\n" for key in listed))
    settings = parse_settings({"out": str(tmp_path)})
    assert versions_fitted_with(settings, ANN, None) == {"v1": True, "v2": False, "v3": None}
    assert versions_fitted_with(settings, NAMESAKE, None)["v1"] is False


@pytest.fixture
def settings_file(store, tmp_path):
    store.put_histories({ANN: [HistoryItem("1", SAID, "x")], BOB: [HistoryItem("1", "something of his own", "x")]})
    path = tmp_path / "settings.yaml"
    store = f"{{url: 'sqlite:///{tmp_path}/users.db'}}"
    path.write_text(
        f"tenant: acme\nout: {tmp_path / 'out'}\nmodel: {{dir: {tmp_path}}}\nstore: {store}\ndata: {{format: store}}\n"
    )
    return path


def test_the_command_ends_with_a_search_and_fails_where_something_is_left(store, settings_file, tmp_path):
    (tmp_path / "ids").write_text("ann\n")
    place = tmp_path / "notes" / "ann.txt"
    place.parent.mkdir()
    place.write_text(f"She said: {SAID}")
    command = ["users", "erase", str(settings_file), "--file", str(tmp_path / "ids"), "--folder", str(place.parent)]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 1
    assert f"Left: {place.resolve()}" in found.output
    assert "1 of history" in found.output
    assert store.history(ANN) == ()
    assert store.history(BOB)
    # What is to be looked for is known by the store alone, in which nothing is left.
    place.unlink()
    assert CliRunner().invoke(app, command).exit_code == 0
    assert "nobody is named" in str(CliRunner().invoke(app, command[:3]).exception)


def test_the_store_deletes_last_and_as_it_deletes_anybody(store, settings_file, monkeypatch):
    """What makes a deletion last, whatever records hold, is the store's own."""
    deleted, file = [], settings_file.parent / "predictions.jsonl"
    file.write_text(json.dumps({"user_id": "ann", "output": "x"}) + "\n")

    class Watched(SqlStore):
        def delete(self, key):
            deleted.append((key, file.read_text()))
            return super().delete(key)

    monkeypatch.setitem(BACKENDS, "sqlite", Watched)
    erase_users(load_settings(settings_file, []), [ANN, BOB, ANN])
    assert deleted == [(ANN, ""), (BOB, "")]


def test_records_are_named_and_not_touched_even_below_out(store, settings_file, tmp_path):
    records = tmp_path / "out" / "records.jsonl"
    records.parent.mkdir()
    records.write_text(json.dumps({"user_id": "ann", "input": SAID, "output": "x", "ts": "2026"}) + "\n")
    before = records.read_bytes()
    data = [f"data.{name}" for name in ("format=records", f"path={records}", "instruction=x", "split=train")]
    report = erase_users(load_settings(settings_file, data), [ANN])
    assert records.read_bytes() == before
    assert report.left == [str(records.resolve())]
    assert "still have ann" in report.notes[0]
    assert store.history(ANN) == ()


def test_checkpoints_elsewhere_are_named_as_not_looked_at(store, settings_file):
    def notes(*changes):
        return [one for one in erase_users(load_settings(settings_file, changes), [ANN]).notes if "checkpoints" in one]

    (note,) = notes("base.checkpoints=s3://bucket/training")
    assert note.startswith("base.checkpoints (s3://bucket/training) is not looked at")
    assert notes() == []
