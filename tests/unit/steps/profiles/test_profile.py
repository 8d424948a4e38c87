"""What all kinds of profiles share: PAG, marks and freshness."""

from dataclasses import replace

import pytest
from defaults import profile_rules

from hydra_ray.records import HydraError, UserKey
from hydra_ray.steps.profiles.profile import ProfileTools
from hydra_ray.steps.profiles.prompts import ProfilePrompts
from hydra_ray.steps.profiles.writer import KINDS, ProfileFingerprints, ProfileWriter, check_kind, cut_off
from hydra_ray.tasks import TASKS, TEXT_TASK

ANN = UserKey("acme", "ann")


def writer(llm, task, **options):
    return ProfileWriter(ProfileTools(llm, profile_rules(task, **options)))


@pytest.fixture
def history(item):
    return [item(f"film {number}", f"tag{number}", ts=f"20{number:02}") for number in range(12)]


@pytest.fixture
def llm(scripted):
    return scripted(lambda _: [" Likes comedy.\0 "])


async def test_pag_reads_the_newest_items_in_one_greedy_call(llm, tag_task, history):
    profile = await writer(llm, tag_task, items=3, max_tokens=77)("pag", ANN, history)
    (request,) = llm.requests
    (message,) = request.messages
    shown = [number for number in range(12) if f"Text: film {number}\nAnswer: tag{number}" in message.content]
    assert shown == [9, 10, 11]
    assert message.content.index("film 9") < message.content.index("film 11")
    assert (request.n, request.temperature, request.max_tokens) == (1, 0.0, 77)
    assert (profile.kind, profile.text, profile.fingerprint.seen) == ("pag", "Likes comedy.", 12)
    assert (profile.peers, profile.degraded, profile.dropped) == ((), False, 0)


async def test_random_items_are_the_same_for_the_same_user_and_seed(llm, tag_task, history):
    async def asked(user, seed):
        await writer(llm, tag_task, items=4, pick="random", seed=seed)("pag", user, history)
        return llm.requests[-1].messages[0].content

    first = await asked(ANN, 1)
    assert first == await asked(ANN, 1)
    assert len({first, await asked(ANN, 2), await asked(UserKey("acme", "bob"), 1)}) == 3


@pytest.mark.parametrize("name", ["LaMP_2M", "LaMP_3", "LaMP_4"])
async def test_each_kind_of_task_has_a_template_of_its_own(llm, history, name):
    task = TASKS[name]
    prompts = replace(ProfilePrompts(), **{task.kind: "My own: $history"})
    await writer(llm, task, prompts=prompts)("pag", ANN, history)
    assert llm.requests[0].messages[0].content.startswith("My own: Text: film 4")


async def test_long_texts_are_cut_to_their_budget(llm, item):
    await writer(llm, TEXT_TASK, words=3)("pag", ANN, [item("one two three four", "five six  seven eight")])
    assert "Text: one two three\nAnswer: five six seven\n" in llm.requests[0].messages[0].content


async def test_an_item_without_input_is_its_output_alone(llm, item):
    await writer(llm, TEXT_TASK)("pag", ANN, [item("", "what a day", id="1")])
    content = llm.requests[0].messages[0].content
    assert "what a day" in content
    assert "Text:" not in content


@pytest.mark.parametrize("kind", list(KINDS))
async def test_nothing_is_asked_or_told_of_a_user_without_history(llm, tag_task, kind):
    profile = await writer(llm, tag_task)(kind, ANN, [])
    assert (profile.text, profile.fingerprint.seen, llm.requests) == ("", 0, [])


def test_an_unknown_kind_names_the_setting():
    check_kind("dpl", "method.profile")
    with pytest.raises(HydraError, match=r"^method\.profile: there is no kind of profile 'gap'; there are pag, dpl$"):
        check_kind("gap", "method.profile")


def test_others_are_read_until_the_newest_item_that_is_seen(item):
    assert cut_off([item("a", ts="2003"), item("b"), item("c", ts="2001")]) == "2003"
    assert cut_off([item("a", ts="2003")], "2010") == "2003"
    assert cut_off([item("a", ts="2021-10-01"), item("b", ts="2021-3-9")]) == "2021-10-01"
    # A profile may hold more than was there when the query was asked.
    assert cut_off([item("a", ts="2021-10-01")], "2021") == "2021"
    assert cut_off([item("a")], "2010") == "2010"
    assert cut_off([item("a")]) is None


def test_a_mark_changes_with_all_that_a_profile_is_made_of(tag_task, history, item):
    def what(kind="dpl", seen=history, asked_at=None, others="16|0.4", **options):
        return ProfileFingerprints(profile_rules(tag_task, others, **options))(kind, seen, asked_at).what

    prompts = replace(ProfilePrompts(), summary="$differences, $history!")
    changed = replace(history[0], output="another")
    marks = [
        what(),
        what(kind="pag"),
        what(seen=history[:-1]),
        what(seen=[changed, *history[1:]]),
        what(prompts=prompts),
        what(peers=2),
        what(others=None),
        what(words=10),
        what(seen=[item("undated")], asked_at="2001"),
        what(seen=[item("undated")], asked_at="2002"),
    ]
    assert len(set(marks)) == len(marks)
    # Neither is how it is told, or when it is refreshed, or a query's own date where the history has one.
    same = what(asked_at="2050", refresh_items=1, prompts=replace(ProfilePrompts(), telling="Know: $profile"))
    assert same == what()


def test_what_is_only_of_dpl_leaves_profiles_of_pag_alone(tag_task, history):
    def what(**options):
        return ProfileFingerprints(profile_rules(tag_task, **options))("pag", history).what

    assert what(peers=2, difference_words=7, prompts=replace(ProfilePrompts(), difference="$own $others")) == what()
    assert what(prompts=replace(ProfilePrompts(), classification="$history")) != what()


def test_a_profile_is_out_of_date_when_history_grew_or_settings_changed(tag_task, history, item):
    marks = ProfileFingerprints(profile_rules(tag_task, refresh_items=3))
    mark = marks("pag", history)
    assert marks.is_fresh(mark, "pag", history)
    assert marks.is_fresh(mark, "pag", [*history, item("x"), item("y")])
    assert not marks.is_fresh(mark, "pag", [*history, item("x"), item("y"), item("z")])
    assert not marks.is_fresh(mark, "pag", history[:-1]), "an item was taken back"
    assert not marks.is_fresh(None, "pag", history)
    assert not marks.is_fresh(mark, "dpl", history)
    other = ProfileFingerprints(profile_rules(tag_task, refresh_items=3, items=2))
    assert not other.is_fresh(mark, "pag", history)
