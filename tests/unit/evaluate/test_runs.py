"""Runs on disk."""

from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.evaluate.runs import EvalQuery, Row, RunRecord, check_whole, read_run, read_runs, write_run
from hydra_ray.records import Answer, Candidate, GateDecision, HydraError, Message, Query, Source, Usage, UserKey
from hydra_ray.steps.generate.failures import Failure, UnfinishedError

KEY = UserKey("acme", "ann")
texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
floats = st.floats(-100, 100, width=32)
sources = st.builds(Source, texts, st.integers(1, 64), st.booleans())
candidates = st.builds(
    Candidate,
    texts,
    st.integers(1, 64),
    st.integers(0, 63),
    st.none() | floats,
    floats,
    sources=st.lists(sources, max_size=2).map(tuple),
)
answers = st.builds(
    Answer,
    query_id=st.just("q"),
    text=texts,
    candidates=st.lists(candidates, max_size=3).map(tuple),
    degraded=st.lists(st.sampled_from(["reranker", "profile"]), max_size=2).map(tuple),
    head=st.sampled_from(["user", "shared", "other", "none"]),
    usage=st.builds(Usage, *[st.integers(0, 1000)] * 4),
    truncated=st.integers(0, 9),
    prompt=st.lists(st.builds(Message, st.sampled_from(["system", "user"]), texts), max_size=3).map(tuple),
)
knowns = st.builds(
    EvalQuery,
    st.builds(Query, st.just("q"), st.just(KEY), texts, item_id=st.none() | texts),
    texts,
    st.integers(0, 99),
    texts,
    st.none() | st.booleans(),
    texts,
)
seconds = st.floats(0, 9, width=32)
failures = st.builds(Failure, st.sampled_from(["refused", "empty", "server", "stopped"]), texts)
rows = st.lists(
    st.builds(Row, knowns, answers, seconds) | st.builds(Row, knowns, st.none(), seconds, failures), max_size=3
).map(tuple)


@given(rows=rows)
def test_a_run_is_read_as_it_was_written(tag_task, tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("dump") / "hydra.parquet"
    run = RunRecord(
        tag_task,
        "dev",
        "hydra",
        3,
        rows,
        0.5,
        25,
        ((0.25, True), (-1.5, False)),
        "digest",
        allowed_answers=9,
        read={"never": 2},
    )
    write_run(path, run)
    assert read_run(path) == run


def a_run(task, method="rag", kind="refused"):
    known = EvalQuery(Query("q", KEY, "A dog barks."), "drama")
    return RunRecord(
        task, "dev", method, 0, (Row(known, Answer("q", "drama")), Row(known, None, failure=Failure(kind, "no luck")))
    )


def test_a_query_without_an_answer_has_an_empty_output(tag_task):
    assert [row.output for row in a_run(tag_task).rows] == ["drama", ""]


@pytest.mark.parametrize(("kind", "whole"), [("refused", True), ("empty", True), ("server", False), ("step", False)])
def test_a_run_is_whole_where_all_that_failed_is_final(tag_task, kind, whole):
    run = a_run(tag_task, kind=kind)
    assert run.whole == whole
    if whole:
        check_whole([run])
    else:
        with pytest.raises(UnfinishedError, match=rf"no scores yet.* rag 1; why: 1 {kind} \(no luck\)"):
            check_whole([run])


def test_what_the_gate_decided_is_kept(tag_task, tmp_path):
    path, asked = tmp_path / "hydra.parquet", EvalQuery(Query("q", KEY, "A dog barks."), "drama")
    decision = GateDecision("vote", "drama", 0.25, -0.5)
    rows = (Row(asked, Answer("q", "drama", gate=decision)), Row(asked, Answer("q", "comedy")))
    write_run(path, RunRecord(tag_task, "dev", "hydra", 0, rows))
    assert [row.answer.gate for row in read_run(path).rows] == [decision, None]
    table = pq.read_table(path)
    about = table.schema.metadata[b"hydra-ray"].replace(b"dump/v5", b"dump/v4")
    pq.write_table(table.drop_columns(["gate"]).replace_schema_metadata({b"hydra-ray": about}), path)
    assert [row.answer.gate for row in read_run(path).rows] == [None, None]


def test_runs_of_a_former_version_are_read_and_know_no_sources(tag_task, tmp_path):
    path, asked = tmp_path / "hydra.parquet", EvalQuery(Query("q", KEY, "A dog barks."), "drama")
    offered = Candidate("drama", 2, 0, 0.5, 0.25)
    rows = (
        Row(asked, Answer("q", "drama", candidates=(replace(offered, sources=(Source("bm25", 2, greedy=False),)),))),
    )
    write_run(path, RunRecord(tag_task, "dev", "hydra", 0, rows))
    table = pq.read_table(path)
    about = table.schema.metadata[b"hydra-ray"].replace(b"dump/v5", b"dump/v3")
    said = [
        [{k: v for k, v in one.items() if k != "sources"} for one in row] for row in table["candidates"].to_pylist()
    ]
    old = table.set_column(table.schema.get_field_index("candidates"), "candidates", pa.array(said))
    pq.write_table(old.replace_schema_metadata({b"hydra-ray": about}), path)
    assert read_run(path).rows[0].answer.candidates == (offered,)


def test_runs_of_the_version_before_are_read_and_what_failed_in_them_is_no_result(tag_task, tmp_path):
    path = tmp_path / "rag.parquet"
    write_run(path, a_run(tag_task))
    table = pq.read_table(path)
    about = table.schema.metadata[b"hydra-ray"].replace(b"dump/v5", b"dump/v2")
    failed = pa.array([False, True])
    old = table.drop_columns(["failure", "reason"]).append_column("failed", failed)
    pq.write_table(old.replace_schema_metadata({b"hydra-ray": about}), path)
    run = read_run(path)
    assert [row.output for row in run.rows] == ["drama", ""]
    with pytest.raises(UnfinishedError, match="the reason was not kept"):
        check_whole([run])


def test_runs_are_found_in_a_folder_and_in_those_called_dumps_below_it(tag_task, tmp_path):
    for name in ("rag", "icl"):
        write_run(tmp_path / "LaMP_2M" / "dumps" / f"{name}.parquet", a_run(tag_task, name))
    # An evaluation leaves feedback beside its dumps.
    pq.write_table(pa.table({"a": [1]}), tmp_path / "LaMP_2M" / "feedback.parquet")
    assert [record.method for record in read_runs(tmp_path)] == ["icl", "rag"]
    assert [record.method for record in read_runs(tmp_path / "LaMP_2M" / "dumps")] == ["icl", "rag"]
    with pytest.raises(HydraError, match="no dumps"):
        read_runs(tmp_path / "nowhere")


def test_other_files_are_refused_with_their_name(tmp_path):
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    with pytest.raises(HydraError, match=r'other\.parquet: the schema is "None"'):
        read_run(other)
    other.write_text("no table")
    with pytest.raises(HydraError, match="not a Parquet file"):
        read_run(other)
    with pytest.raises(HydraError, match="no such file"):
        read_run(tmp_path / "absent.parquet")
