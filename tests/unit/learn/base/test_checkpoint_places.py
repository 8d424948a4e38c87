"""Where the checkpoints of a training are."""

import pytest
import s3
from pyarrow import fs

from hydra_ray.learn.base.trainer import _made
from hydra_ray.records import HydraError


@pytest.fixture
def bucket(monkeypatch):
    """A client of a bucket in an S3 of this machine."""
    with s3.serving() as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server}")
        yield s3.client_with(server, "checkpoints", monkeypatch)


def test_a_folder_is_made_and_known_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filesystem, folder = _made("here/training")
    assert isinstance(filesystem, fs.LocalFileSystem)
    assert folder == str(tmp_path / "here" / "training")
    assert (tmp_path / "here" / "training").is_dir()


def test_a_uri_is_a_place_in_an_object_store(bucket):
    filesystem, folder = _made("s3://checkpoints/training")
    with filesystem.open_output_stream(f"{folder}/file") as out:
        out.write(b"kept")
    assert bucket.get_object(Bucket="checkpoints", Key="training/file")["Body"].read() == b"kept"


@pytest.mark.usefixtures("bucket")
def test_a_bucket_that_there_is_not_is_refused_before_anything_is_trained():
    with pytest.raises(HydraError, match=r"base\.checkpoints: none/training cannot be written"):
        _made("s3://none/training")


@pytest.mark.parametrize("place", ["{}/file/training", "nowhere://bucket/training"])
def test_places_that_cannot_be_written_are_named(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(HydraError, match=r"base\.checkpoints: ") as refused:
        _made(place.format(tmp_path))
    assert "\n" not in str(refused.value)
