"""Ids of users and records: what is nobody, what lost digits, and what belongs to an id."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_record import GOOD, line, only, parquet, read

from hydra_ray.data.errors import DataError
from hydra_ray.data.fields import Fields

LOST = 'as "user_id", which went through floats, where ids lose digits. Write ids as text.'


def check_identity(path, identity):
    """The one record is of this user; None where digits may be lost."""
    if identity is None:
        with pytest.raises(DataError, match=LOST):
            read(path)
    else:
        assert only(read(path))[0] == identity


@pytest.mark.parametrize(
    ("written", "identity"),
    [
        ("12345678901234567", "12345678901234567"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("123.0", "123"),
        ("-7", "-7"),
        ("0.0", "0"),
        ("1e3", "1000"),
        ("9007199254740991.0", "9007199254740991"),
        ("9007199254740992.0", None),
        ("1.2345678901234568e+16", None),
        ("12.5", None),
        ('"123.0"', "123.0"),
        ('"007"', "007"),
        # A hexadecimal id, not a float: no program writes those without sign or point.
        ('"12e5"', "12e5"),
        ('"1e+18"', None),
        ('"1.2345678901234568e+18"', None),
        ('"1.2345678901234568E18"', None),
        ('" 1.5e-7 "', None),
    ],
)
def test_ids_keep_their_digits_or_are_refused(tmp_path, written, identity):
    for field in ("user_id", "item_id"):
        text = json.dumps({name: value for name, value in GOOD.items() if name != field})[:-1]
        path = line(tmp_path, f'{text}, "{field}": {written}}}')
        if identity is None:
            with pytest.raises(DataError) as caught:
                read(path)
            assert LOST.replace("user_id", field) in str(caught.value)
        else:
            user, item = only(read(path))
            assert (user if field == "user_id" else item.item_id) == identity


@pytest.mark.parametrize(
    ("cell", "identity"),
    [
        ("12345678901234567", "12345678901234567"),
        ("123.0", "123"),
        ("007", "007"),
        ("1.5", "1.5"),
        ("9007199254740992.0", None),
        ("1.2345678901234568e+18", None),
        ("1.23457E+18", None),
    ],
)
def test_ids_in_csv_are_text_unless_they_were_floats(tmp_path, cell, identity):
    path = tmp_path / "r.csv"
    path.write_text(f"user_id,input,output,ts\n{cell},hi,ho,2026\n", encoding="utf-8")
    check_identity(path, identity)


@pytest.mark.parametrize(
    ("values", "identity"),
    [
        (pa.array([2**62 + 1]), str(2**62 + 1)),
        (pa.array([2**64 - 1], pa.uint64()), str(2**64 - 1)),
        (pa.array([7.0]), "7"),
        (pa.array([2.0**53]), None),
        (pa.array([16777215.0], pa.float32()), "16777215"),
        (pa.array([16777216.0], pa.float32()), None),
        (pa.array([np.float16(2048)], pa.float16()), None),
        (pa.array([Decimal("12345678901234567890")]), "12345678901234567890"),
        (pa.array([Decimal("7.00")]), "7"),
        (pa.array(["ann"], pa.large_string()), "ann"),
        (pa.array(["ann"], pa.string_view()), "ann"),
        (pa.array(["ann"]).dictionary_encode(), "ann"),
        (pa.array(["änn".encode()], pa.binary()), "änn"),
        (pa.array(["ann"], pa.binary()).cast(pa.binary(3)), "ann"),
    ],
)
def test_parquet_ids_of_any_type_keep_their_digits(tmp_path, values, identity):
    path = parquet(tmp_path, user_id=values)
    check_identity(path, identity)


@pytest.mark.parametrize(
    "blank", ["", " ", "\t\n", "\u3000", "\u00a0", "\u200b", " \ufeff\u200f", "\u200d", "\u3164", "\u2800"]
)
def test_a_blank_user_is_nobody(tmp_path, blank):
    with pytest.raises(DataError) as caught:
        read(line(tmp_path, json.dumps(GOOD | {"user_id": blank})))
    assert str(caught.value).startswith('r.jsonl, line 1 has a "user_id" that is blank: nobody is not a user.')


def test_blanks_around_an_id_are_taken_away_and_counted(tmp_path):
    records = [GOOD | {"user_id": user, "ts": f"200{year}"} for year, user in enumerate(["ann ", "ann", "\tann"])]
    data = read(line(tmp_path, "\n".join(map(json.dumps, records))))
    assert only(data)[0] == "ann"
    assert data.left_out.counts == {'blanks around "user_id" taken away': 2}
    assert data.left_out.examples == {'blanks around "user_id" taken away': ["r.jsonl, line 1", "r.jsonl, line 3"]}


@pytest.mark.parametrize("unseen", ["\u200b", "\ufeff", "\u200e", "\u202c", "\u2060", "\u00ad", "\x1f"])
def test_what_is_not_seen_around_an_id_makes_no_other_user(tmp_path, unseen):
    records = [GOOD | {"user_id": user, "ts": ts} for ts, user in (("2001", "ann"), ("2002", f"{unseen}ann{unseen}"))]
    data = read(line(tmp_path, "\n".join(map(json.dumps, records))))
    assert only(data)[0] == "ann"
    assert data.left_out.counts == {'blanks around "user_id" taken away': 1}


@pytest.mark.parametrize(
    "user", ["❤\ufe0f", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "a\u200bb"]
)
def test_what_belongs_to_an_id_stays(tmp_path, user):
    assert only(read(line(tmp_path, json.dumps(GOOD | {"user_id": user}))))[0] == user


def test_long_decimals_without_fraction_are_ids_and_others_are_not(tmp_path):
    assert only(read(parquet(tmp_path, user_id=pa.array([Decimal("9" * 60)], pa.decimal256(70, 0)))))[0] == "9" * 60
    with pytest.raises(
        DataError, match=r'^r\.parquet, row 1 has 1\.50 as "user_id"\. Ids are text or whole numbers\.$'
    ):
        read(parquet(tmp_path, user_id=pa.array([Decimal("1.50")], pa.decimal128(10, 2))))


@given(number=st.integers(-(2**70), 2**70))
def test_whole_numbers_come_through_whole_or_not_at_all(number):
    assert Fields({"id": number}, "here").identity("id") == str(number)
    try:
        assert Fields({"id": float(number)}, "here").identity("id") == str(number)
    except DataError:
        assert abs(number) >= 2**53
