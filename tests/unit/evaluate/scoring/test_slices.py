from made_runs import RIGHT, WRONG, asked, row, run, scoreboard

from hydra_ray.evaluate.scoring.slices import slices_of


def slices(*rows):
    return {(one.by, one.name): one for one in slices_of(scoreboard([run("rag", rows)]))}


def test_queries_are_sliced_by_length_of_history():
    lengths = {"q1": 0, "q2": 1, "q3": 5, "q4": 6, "q5": 20, "q6": 21, "q7": 400}
    rows = [
        row(asked("a", query, history_items=items), RIGHT if items in (1, 21, 400) else WRONG)
        for query, items in lengths.items()
    ]

    found = slices(*rows)

    assert [name for _, name in found] == ["0", "1 to 5", "6 to 20", "21 and more"]
    values = {name: (one.methods["rag"].value, one.methods["rag"].n) for (_, name), one in found.items()}
    assert values == {"0": (0, 1), "1 to 5": (0.5, 2), "6 to 20": (0, 2), "21 and more": (1, 2)}


def test_a_slices_interval_is_over_its_own_users():
    rows = [row(asked(user, "q"), RIGHT if user in "ab" else WRONG) for user in "abcd"]
    rows += [row(asked(user, "long", history_items=9), RIGHT) for user in "ab"]

    one = slices(*rows)["history", "6 to 20"]

    assert one.users == 2
    assert (one.methods["rag"].low, one.methods["rag"].value, one.methods["rag"].n) == (1, 1, 2)


def test_cohorts_and_items_are_slices_where_they_are_known():
    rows = [
        row(asked("a", "q1", cohort="shy", seen=True), RIGHT),
        row(asked("b", "q2", cohort="bold", seen=False), WRONG),
        row(asked("c", "q3"), WRONG),
    ]

    found = slices(*rows)

    assert {key: one.methods["rag"].value for key, one in found.items() if key[0] != "history"} == {
        ("cohort", "bold"): 0,
        ("cohort", "shy"): 1,
        ("item", "seen"): 1,
        ("item", "unseen"): 0,
    }


def test_a_user_with_queries_in_two_slices_counts_in_both():
    rows = [row(asked("a", "q1", history_items=1), RIGHT), row(asked("a", "q2", history_items=30), WRONG)]

    assert [one.users for one in slices(*rows).values()] == [1, 1]
