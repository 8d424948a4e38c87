"""DPL: what sets a user apart from those who answered the like, and every way in which there may be nobody."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from defaults import profile_rules

from hydra_ray.records import PeerItem, UserKey
from hydra_ray.steps.generate import BudgetSpentError, GenerateError
from hydra_ray.steps.profiles.differences import SCHEMA
from hydra_ray.steps.profiles.profile import PeerSource, ProfileTools
from hydra_ray.steps.profiles.writer import ProfileWriter
from hydra_ray.tasks import TEXT_TASK

ANN, BOB, CLEO, DAN, EVE = (UserKey("acme", name) for name in ("ann", "bob", "cleo", "dan", "eve"))
STRANGER = UserKey("zeta", "zoe")
GOOD = {"writing": "short words", "emotional": "calm", "semantic": "looks at colours"}


def embed(texts):
    """Long texts one way, short ones another."""
    angles = np.array([len(text.split()) / 8 for text in texts], np.float32)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def answers(content):
    """The lengths, in words, of the answers in a part of a prompt."""
    return [len(answer.split()) for answer in re.findall(r"Answer: (.*)", content)]


def by_length(request):
    """An LLM that sees one thing only: who writes more than whom. It reads all that it says from the prompt."""
    content = request.messages[-1].content
    if "Differences:" in content:
        told, own = content.split("Own answers:")
        longer, shorter = told.count("writes more"), told.count("writes less")
        return [f"{longer} times more, {shorter} times less than others; {answers(own)} words"]
    if "The others:" not in content:
        return [f"own words only: {answers(content)}"]
    own, others = content.split("The others:")
    (mine,), theirs = answers(own), answers(others)
    more = all(mine > length for length in theirs)
    less = all(mine < length for length in theirs)
    writing = "writes more" if more else "writes less" if less else "writes as much"
    return [f"```json\n{json.dumps({**GOOD, 'writing': f'{writing} than {len(theirs)}'})}\n```"]


def tools(llm, pool, **options):
    """Tools over a plain pool: all items of a film of the same id, whoever's and whenever."""

    def comparable(user, item, before):
        return [PeerItem(key, one) for key, own in pool.items() for one in own if one.item_id == item.item_id]

    rules = profile_rules(TEXT_TASK, "all", **options)
    return ProfileTools(llm, rules, PeerSource(comparable, embed))


def dpl(llm, pool, **options):
    return ProfileWriter(tools(llm, pool, **options))


@pytest.fixture
def films(item):
    """Makes a history of `count` films that somebody answered with so many words each, one film a year."""

    def make(words, count=3, first=2001):
        return [
            item(f"film {n}", " ".join(["word"] * words), id=f"{words}-{n}", item_id=f"f{n}", ts=str(first + n))
            for n in range(count)
        ]

    return make


@pytest.fixture
def llm(scripted):
    return scripted(by_length)


async def test_two_users_of_opposite_styles_get_opposite_profiles(llm, films):
    pool = {ANN: films(12), BOB: films(2), CLEO: films(6), DAN: films(7)}
    write = dpl(llm, pool)
    long, short = await write("dpl", ANN, pool[ANN]), await write("dpl", BOB, pool[BOB])
    # The newest film has no peers before its own date.
    assert long.text == "2 times more, 0 times less than others; [12, 12, 12] words"
    assert short.text == "0 times more, 2 times less than others; [2, 2, 2] words"
    assert long.peers == (BOB, CLEO, DAN)
    assert short.peers == (ANN, CLEO, DAN)
    assert (long.degraded, long.dropped, long.fingerprint.seen) == (False, 0, 3)
    assert len(llm.requests) == 2 * (2 + 1)
    assert {request.temperature for request in llm.requests} == {0.0}


async def test_what_peers_wrote_is_in_no_prompt_but_those_that_compare(llm, item, films):
    pool = {ANN: films(3), BOB: [item("film 0", "a secret of bob", id="s", item_id="f0", ts="2000")]}
    await dpl(llm, pool)("dpl", ANN, pool[ANN])
    compared, summary = [request.messages[0].content for request in llm.requests]
    assert "1.\nAnswer: a secret of bob" in compared
    assert "secret" not in summary


async def test_of_a_like_item_the_peers_text_is_shown_too(llm, item, films):
    pool = {ANN: films(3), BOB: [item("another film", "fine", id="x", item_id="f0", ts="2000")]}
    await dpl(llm, pool)("dpl", ANN, pool[ANN])
    assert "1.\nText: another film\nAnswer: fine" in llm.requests[0].messages[0].content


async def test_the_newest_items_that_have_peers_are_compared_and_no_more_than_wanted(llm, films):
    pool = {ANN: films(9, 6), BOB: films(2, 4)}
    profile = await dpl(llm, pool, items=2)("dpl", ANN, pool[ANN])
    films_compared = [re.search(r"film \d", request.messages[0].content)[0] for request in llm.requests[:-1]]
    assert films_compared == ["film 3", "film 2"]
    assert profile.text == "2 times more, 0 times less than others; [9, 9] words"


async def test_many_peers_are_stood_for_by_representatives(llm, films):
    pool = {ANN: films(40), **{UserKey("acme", f"p{n}"): films(n + 1) for n in range(12)}}
    profile = await dpl(llm, pool, peers=3)("dpl", ANN, pool[ANN])
    shown = answers(llm.requests[0].messages[0].content.split("The others:")[1])
    assert 1 <= len(shown) <= 3
    assert {int(key.user[1:]) + 1 for key in profile.peers} >= set(shown)
    assert len(profile.peers) < 12


async def test_fewer_peers_than_wanted_are_all_read(llm, films):
    pool = {ANN: films(9), BOB: films(2)}
    profile = await dpl(llm, pool, peers=4)("dpl", ANN, pool[ANN])
    assert profile.peers == (BOB,)
    assert not profile.degraded


NOBODY = {
    "no item of the same": lambda films: {BOB: [one for one in films(2, 9) if one.item_id > "f5"]},
    "all after the cut-off": lambda films: {BOB: films(2, first=2003), CLEO: films(4, first=2011)},
    "other tenant only": lambda films: {STRANGER: films(2)},
    "themselves only": lambda films: {ANN: films(5)},
    "all said the same": lambda films: {UserKey("acme", f"p{n}"): films(9) for n in range(8)},
}


@pytest.mark.parametrize("pool", NOBODY.values(), ids=NOBODY.keys())
async def test_without_peers_the_profile_is_of_the_own_history_and_says_so(llm, films, pool):
    profile = await dpl(llm, pool(films))("dpl", ANN, films(9))
    assert profile.text == "own words only: [9, 9, 9]"
    assert (profile.degraded, profile.peers, profile.dropped, len(llm.requests)) == (True, (), 0, 1)


async def test_a_peers_text_without_a_date_is_not_read_where_others_are_dated(llm, item, films):
    pool = {BOB: [item("film 0", "undated", id="u", item_id="f0")]}
    assert (await dpl(llm, pool)("dpl", ANN, films(9))).degraded
    # Where nothing is dated nothing can be told apart.
    history = [item("film 0", "mine", id="m", item_id="f0")]
    assert (await dpl(llm, pool)("dpl", ANN, history)).peers == (BOB,)
    assert (await dpl(llm, pool)("dpl", ANN, history, asked_at="2000")).degraded


@pytest.mark.parametrize(("ts", "read"), [("2003", ()), ("2003-04-30", (BOB,)), ("2002", (BOB,))])
async def test_a_peers_text_dated_by_its_year_is_not_read_before_a_day_of_it(llm, item, ts, read):
    pool = {BOB: [item("film 0", "a year's", id="y", item_id="f0", ts=ts)]}
    history = [item("film 0", "mine", id="m", item_id="f0", ts="2003-05-01")]
    assert (await dpl(llm, pool)("dpl", ANN, history)).peers == read


async def test_nobody_is_read_where_the_tenant_did_not_opt_in(llm, films):
    write = ProfileWriter(ProfileTools(llm, profile_rules(TEXT_TASK)))
    profile = await write("dpl", ANN, films(9))
    assert (profile.text, profile.degraded) == ("own words only: [9, 9, 9]", True)


async def test_a_peer_is_compared_once_with_an_item(llm, films, item):
    twice = [*films(2), item("film 0 again", "word word", id="again", item_id="f0", ts="1999")]
    await dpl(llm, {BOB: twice})("dpl", ANN, films(9))
    assert [answers(request.messages[0].content) for request in llm.requests[:-1]] == [[9, 2], [9, 2]]


async def test_texts_are_cut_to_their_budgets(scripted, films):
    def verbose(request):
        content = request.messages[-1].content
        return ["a profile"] if "Differences:" in content else [json.dumps(dict.fromkeys(GOOD, "very " * 500))]

    llm = scripted(verbose)
    pool = {ANN: films(300), BOB: films(200)}
    options = {"words": 10, "difference_words": 7, "max_tokens": 55, "difference_tokens": 66}
    await dpl(llm, pool, **options)("dpl", ANN, pool[ANN])
    assert answers(llm.requests[0].messages[0].content) == [10, 10]
    assert llm.requests[-1].messages[0].content.count("very") == 2 * 3 * 7
    assert [request.max_tokens for request in llm.requests] == [66, 66, 55]


async def test_an_answer_that_cannot_be_read_is_asked_for_again_with_the_error(scripted, films):
    def forgetful(request):
        if len(request.messages) == 1 and "Differences:" not in request.messages[0].content:
            return ['{"writing": "short", "emotional": ""}']
        return by_length(request) if len(request.messages) == 1 else [json.dumps(GOOD)]

    llm = scripted(forgetful)
    profile = await dpl(llm, {BOB: films(2)})("dpl", ANN, films(9))
    again = [request for request in llm.requests if len(request.messages) == 3]
    assert len(again) == 2
    asked, answer, error = again[0].messages
    assert (asked.role, answer.role, error.role) == ("user", "assistant", "user")
    assert answer.content == '{"writing": "short", "emotional": ""}'
    assert "emotional: String should have at least 1 character; semantic: Field required" in error.content
    assert (profile.dropped, profile.degraded) == (0, False)


async def test_an_item_that_stays_unreadable_is_dropped_and_counted(scripted, films):
    def of_film_1_only(request):
        content = request.messages[0].content
        return by_length(request) if "Differences:" in content or "film 1" in content else ["It is hard to say."]

    llm = scripted(of_film_1_only)
    profile = await dpl(llm, {BOB: films(2)})("dpl", ANN, films(9))
    assert profile.text == "1 times more, 0 times less than others; [9, 9, 9] words"
    assert (profile.dropped, profile.degraded) == (1, False)
    assert len(llm.requests) == 1 + 2 + 1


async def test_without_any_difference_that_can_be_read_the_own_history_is_left(scripted, films):
    llm = scripted(lambda r: by_length(r) if "The others" not in r.messages[0].content else ["{}"])
    profile = await dpl(llm, {BOB: films(2)})("dpl", ANN, films(9))
    assert profile.text == "own words only: [9, 9, 9]"
    assert (profile.dropped, profile.degraded, profile.peers) == (2, True, ())


async def test_a_difference_that_quotes_a_peer_is_not_let_through(scripted, item):
    secret = "on my way to Porto I lost the red suitcase of my aunt"

    def parrot(request):
        compares = "The others:" in request.messages[0].content
        return [json.dumps({**GOOD, **said})] if compares else ["a profile"]

    llm = scripted(parrot)
    own = [item("film", "nice", id="1", item_id="f")]
    pool = {BOB: [item("film", secret, id="2", item_id="f")]}
    said = {"semantic": "Others say 'ON my way to Porto, I lost the RED suitcase', this one does not."}
    assert (await dpl(llm, pool)("dpl", ANN, own)).dropped == 1
    assert "semantic: it quotes another person" in llm.requests[1].messages[2].content
    said = {"semantic": "Others lost the red suitcase."}
    assert (await dpl(llm, pool)("dpl", ANN, own)).dropped == 0


@pytest.mark.parametrize(
    ("secret", "quoted", "said"),
    [
        (
            "上个月我在波尔图弄丢了姑妈的红色行李箱",
            "别人说“上个月我在波尔图弄丢了姑妈的红色行李箱”。",
            "别人弄丢了行李箱。",
        ),
        ("ฉันทำกระเป๋าเดินทางสีแดงของป้าหายที่ปอร์โต", "บางคนว่า ฉันทำกระเป๋าเดินทางสีแดงของป้าหายที่ปอร์โต", "กระเป๋าหาย"),
    ],
    ids=["Chinese", "Thai"],
)
async def test_a_quotation_is_seen_where_no_blanks_part_words(scripted, item, secret, quoted, said):
    answers = iter([quoted.format(secret), said])

    def parrot(request):
        compares = "The others:" in request.messages[0].content
        return [json.dumps({**GOOD, "semantic": next(answers)})] if compares else ["a profile"]

    llm = scripted(parrot)
    own, pool = [item("film", "nice", id="1", item_id="f")], {BOB: [item("film", secret, id="2", item_id="f")]}
    assert (await dpl(llm, pool)("dpl", ANN, own)).dropped == 0
    assert "semantic: it quotes another person" in llm.requests[1].messages[2].content
    assert not list(answers)


@pytest.mark.parametrize("first", [True, False])
async def test_an_llm_that_is_out_of_reach_for_now_is_an_error(scripted, films, first):
    def down(request):
        if ("Differences:" in request.messages[0].content) != first:
            raise GenerateError("busy", "busy", transient=True)
        return by_length(request)

    with pytest.raises(GenerateError, match="busy"):
        await dpl(scripted(down), {BOB: films(2)})("dpl", ANN, films(9))


async def test_an_item_that_the_llm_refuses_is_dropped_but_a_spent_budget_is_not_overlooked(scripted, films):
    def refuse(request):
        if "film 0" in request.messages[0].content and "Differences:" not in request.messages[0].content:
            raise error
        return by_length(request)

    error = GenerateError("too long", "refused")
    assert (await dpl(scripted(refuse), {BOB: films(2)})("dpl", ANN, films(9))).dropped == 1
    error = BudgetSpentError("spent")
    with pytest.raises(BudgetSpentError):
        await dpl(scripted(refuse), {BOB: films(2)})("dpl", ANN, films(9))


async def test_differences_are_asked_for_by_a_schema_and_other_texts_are_not(llm, films):
    await dpl(llm, {BOB: films(2)})("dpl", ANN, films(9))
    *compared, summary = llm.requests
    assert {request.schema for request in compared} == {SCHEMA}
    assert summary.schema == ""
    # What is held to it can be read.
    assert json.loads(SCHEMA)["required"] == list(GOOD)
    assert json.loads(SCHEMA)["additionalProperties"] is False


async def test_each_item_that_is_compared_is_counted_by_when_its_answer_could_be_read(scripted, films):
    noted = []

    def llm(request):
        content = request.messages[0].content
        if "film 0" in content or "Differences:" in content:
            return by_length(request)
        if "film 1" in content:
            return [json.dumps(GOOD) if len(request.messages) > 1 else "They differ."]
        raise GenerateError("too long", "refused")

    pool = {BOB: films(2, 4)}
    write = ProfileWriter(replace(tools(scripted(llm), pool), note=noted.append))
    profile = await write("dpl", ANN, films(9, 4))
    assert (sorted(noted), profile.dropped) == (["again", "at_once", "never"], 1)
