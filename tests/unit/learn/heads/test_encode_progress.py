"""What bars show of a job: how much is done, so that the time left can be told."""

import pytest
from rich.progress import Progress as Bar

from hydra_ray.learn.heads.progress import EncodeLines, EncodeProgress
from hydra_ray.learn.heads.shards import HeldShards, Shard
from hydra_ray.learn.train.job import course
from hydra_ray.records import UserKey
from hydra_ray.settings import BaseSettings


def base(layers, epochs):
    return BaseSettings.model_validate({"encoder": {"trained_layers": layers}, "epochs": epochs})


@pytest.mark.parametrize("layers", [2, None])
def test_where_the_encoder_is_trained_all_steps_are_alike(layers):
    assert course(0, 3, 10, base(layers, 4)) == (3, 40)
    assert course(3, 10, 10, base(layers, 4)) == (40, 40)


def test_a_frozen_encoder_reads_in_the_first_epoch_which_is_most_of_the_work():
    done, total = course(0, 10, 10, base(0, 4))
    assert done == 10
    assert done / total > 0.7
    courses = [course(epoch, step, 10, base(0, 4)) for epoch in range(4) for step in range(1, 11)]
    assert [done for done, _ in courses] == sorted({done for done, _ in courses}), "each step goes on"
    assert courses[-1][0] == pytest.approx(courses[-1][1])


def shard(role, *users):
    return Shard(role, tuple((UserKey("acme", user), "mark") for user in users))


def test_users_whose_texts_are_encoded_in_part_count_in_part():
    shards = [shard("reranker", "ann", "bob"), shard("adapter", "ann", "bob"), shard("adapter", "eve")]
    bar, progress = Bar(), EncodeProgress()
    lines = EncodeLines(bar, HeldShards(shards, None).sizes)
    for place, share in ((1, 0.25), (1, 0.75), (2, 1.0)):
        progress.encoded(place, share)
    lines.show(progress.state())
    shown = {task.description: (task.completed, task.total) for task in bar.tasks}
    assert shown == {"Encoding texts for the reranker": (0, 2), "Encoding texts for the adapter": (2.5, 3)}


def test_a_role_without_users_has_no_line():
    bar = Bar()
    EncodeLines(bar, [("adapter", 1)])
    assert [task.description for task in bar.tasks] == ["Encoding texts for the adapter"]
