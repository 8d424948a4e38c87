"""ONNX Runtime encodes as torch does, where it is to and can, and an encoder is written for it once a machine."""

import json
import logging
import subprocess
import sys
from weakref import WeakValueDictionary

import pytest
import torch
from defaults import computing, load_scorer, texts_encoder
from made_up_texts import DECISIONS, LONG
from torch.testing import assert_close

from hydra_ray.models import computing as computing_module
from hydra_ray.models.onnx import kept, session
from hydra_ray.records import HydraError
from hydra_ray.settings import SettingsError, parse_settings

TEXTS = ["drama", "two cats meet a robot", f"a long one: {LONG}", "a king weeps", "drama drama", "é 漢字"]


@pytest.fixture
def installed(monkeypatch):
    """Packages without which ONNX Runtime encodes nothing; the test is skipped where one is missing."""
    # Other tests' encoders have the same weights.
    monkeypatch.setattr(session, "_sessions", WeakValueDictionary())
    for name in ("onnxruntime", "onnx"):
        pytest.importorskip(name, reason=f"{name} is not installed (the extra onnx)")


@pytest.fixture
def encoder(tiny_encoder, tmp_path):
    """Makes frozen encoders that find models of ONNX Runtime in a folder of the test's own."""

    def make(runtime="onnx", cache=tmp_path / "cache", **how):
        made = texts_encoder(tiny_encoder, 64, runtime=runtime, cache=cache, **how).eval()
        return made.requires_grad_(False)

    return make


@pytest.fixture
def by_torch_alone(monkeypatch):
    """Who opens a session fails."""

    def fail(*_):
        raise AssertionError("ONNX Runtime was to leave this to torch")

    monkeypatch.setattr(session.LazySession, "get", fail)


@pytest.fixture
def never_written(monkeypatch):
    """As where torch cannot write such an encoder."""

    def fail(*_):
        raise NotImplementedError("no such operator\nand a long list of others")

    monkeypatch.setattr(session, "export", fail)


def stands_for_installed(monkeypatch, *lacking):
    monkeypatch.setattr(computing_module, "missing", lambda: lacking)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.usefixtures("installed")
def test_encodings_are_torchs(encoder):
    by_onnx, by_torch = encoder(), encoder("torch")
    # Many at once, and each alone.
    for texts in (TEXTS, *([text] for text in TEXTS)):
        assert_close(by_onnx.embed(texts), by_torch.embed(texts), atol=1e-5, rtol=0)
    found, expected = by_onnx.encodings(TEXTS), by_torch.encodings(TEXTS)
    assert_close(found, expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert by_onnx._session("cpu") is not None
        assert by_torch._session("cpu") is None


@pytest.mark.usefixtures("installed")
def test_a_base_decides_alike_by_either(scorer, tmp_path):
    scorer(seed=3).save(tmp_path / "base")
    by_onnx, by_torch = (load_scorer(tmp_path / "base", runtime=one, cache=tmp_path) for one in ("onnx", "torch"))
    found, expected = (one.score(DECISIONS, [None] * len(DECISIONS)) for one in (by_onnx, by_torch))
    assert by_onnx.encoder._session("cpu") is None, "gradients are wanted here"
    with torch.no_grad():
        assert by_onnx.encoder._session("cpu") is not None
    assert expected.std() > 0.01
    assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert found.argsort().tolist() == expected.argsort().tolist()


@pytest.mark.usefixtures("installed")
def test_the_packaged_encoder_encodes_alike(machine_cache):
    from hydra_ray.models.encoder import TextsEncoder

    by_onnx, by_torch = (
        TextsEncoder.load("minilm", 256, computing(runtime=one, cache=machine_cache), lexical=False)
        .eval()
        .requires_grad_(False)
        for one in ("onnx", "torch")
    )
    assert_close(by_onnx.embed(TEXTS), by_torch.embed(TEXTS), atol=1e-5, rtol=0)
    assert by_onnx._by_onnx is not None


@pytest.mark.usefixtures("installed")
def test_it_is_written_once_and_read_by_others(encoder, tmp_path, monkeypatch):
    first = encoder().embed(TEXTS)
    assert len(files(tmp_path / "cache")) == 1
    monkeypatch.setattr(session, "_written", None)
    assert_close(encoder().embed(TEXTS), first, atol=0, rtol=0)


@pytest.mark.usefixtures("installed")
def test_encoders_with_the_same_weights_share_a_session_and_others_do_not(encoder):
    one, same, other = encoder(), encoder(), encoder()
    with torch.no_grad():
        next(other.backbone.parameters())[5, 5] += 1
        sessions = [each._session("cpu") for each in (one, same, other)]
    assert sessions[0] is sessions[1]
    assert sessions[0] is not sessions[2]


@pytest.mark.usefixtures("installed")
def test_a_damaged_file_is_told_of_and_written_again(encoder, tmp_path, caplog):
    expected = encoder().embed(TEXTS)
    (file,) = (tmp_path / "cache").iterdir()
    content = bytearray(file.read_bytes())
    for damaged in (content[: len(content) // 2], content[:-200] + bytes(200), b""):
        file.write_bytes(damaged)
        with caplog.at_level(logging.WARNING):
            assert_close(encoder().embed(TEXTS), expected, atol=1e-6, rtol=0)
        assert caplog.messages == [f"{file} is damaged, and is written again"]
        caplog.clear()
        assert files(tmp_path / "cache") == [file.name]
        assert file.read_bytes() == content


@pytest.mark.usefixtures("installed")
def test_where_nothing_can_be_kept_it_encodes_all_the_same(encoder, tmp_path, caplog):
    # Whoever tests as root may write into any folder; into a file nobody may.
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING):
        found = encoder(cache=tmp_path / "file" / "cache").embed(TEXTS)
    assert_close(found, encoder("torch").embed(TEXTS), atol=1e-5, rtol=0)
    (said,) = caplog.messages
    assert said.startswith("an encoder for ONNX Runtime cannot be kept, so each process writes its own: ")
    assert str(tmp_path / "file") in said


@pytest.mark.usefixtures("installed")
def test_processes_that_write_it_at_once_find_it_whole(encoder, tiny_encoder, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from hydra_ray.models.computing import Computing\n"
        "from hydra_ray.models.encoder import TextsEncoder\n"
        "how = Computing('float32', 'onnx', Path(sys.argv[2]))\n"
        "encoder = TextsEncoder.load(sys.argv[1], 64, how, True).eval().requires_grad_(False)\n"
        "print('ready', flush=True); input(); print(encoder.embed(['two cats meet a robot'])[0].tolist())"
    )
    words = [sys.executable, "-c", code, str(tiny_encoder), str(tmp_path / "cache")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as another:
        assert another.stdout.readline() == "ready\n"
        another.stdin.write("\n")
        another.stdin.flush()
        own = encoder().embed(["two cats meet a robot"])[0]
        theirs = torch.tensor(json.loads(another.communicate()[0]))
    assert_close(theirs, own, atol=1e-5, rtol=0)
    assert all(name.endswith(".onnx") for name in files(tmp_path / "cache"))
    found = kept.find(tmp_path / "cache", files(tmp_path / "cache")[0].partition(".")[0])
    assert found is not None


@pytest.mark.usefixtures("installed")
def test_a_forked_process_opens_its_own(encoder, monkeypatch):
    parents = encoder()
    with torch.no_grad():
        before = parents._session("cpu")
        assert parents._session("cpu") is before
        monkeypatch.setattr(session.os, "getpid", lambda: -1)
        assert parents._session("cpu") is not before


@pytest.mark.usefixtures("installed")
def test_it_computes_with_torchs_threads(encoder):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with torch.no_grad():
            opened = encoder()._session("cpu")
    finally:
        torch.set_num_threads(before)
    assert opened._session.get_session_options().intra_op_num_threads == 3


@pytest.mark.usefixtures("by_torch_alone")
def test_what_is_trained_is_torchs(encoder, monkeypatch):
    stands_for_installed(monkeypatch)
    trained = encoder("auto")
    trained.train_top_layers(1)
    assert not trained.frozen
    assert trained.embed(TEXTS).shape == (len(TEXTS), 32)
    # Of a frozen one, what would have gradients.
    still = encoder("auto")
    still(still.tokenize(DECISIONS))


@pytest.mark.usefixtures("installed")
def test_an_encoder_that_is_trained_after_all_is_torchs_from_then_on(encoder):
    made = encoder("auto")
    before = made.embed(TEXTS)
    made.requires_grad_(True)
    made.train_top_layers(None)
    with torch.no_grad():
        for weights in made.backbone.parameters():
            weights += 0.05 * torch.arange(weights.numel()).view(weights.shape).remainder(7)
    after = made.embed(TEXTS)
    assert (after - before).abs().max() > 0.01
    made.computing = computing(runtime="torch")
    assert_close(made.embed(TEXTS), after)


@pytest.mark.usefixtures("by_torch_alone")
@pytest.mark.parametrize(
    ("lacking", "how"),
    [
        ((), {"runtime": "torch", "precision": "float32"}),
        ((), {"runtime": "auto", "precision": "bfloat16"}),
        (("onnxruntime",), {"runtime": "auto", "precision": "float32"}),
        (("onnx",), {"runtime": "auto", "precision": "auto"}),
    ],
    ids=str,
)
def test_torch_encodes_where_it_is_told_to_or_nothing_else_can(encoder, monkeypatch, lacking, how):
    stands_for_installed(monkeypatch, *lacking)
    assert encoder(**how).embed(TEXTS).shape == (len(TEXTS), 32)


@pytest.mark.parametrize(
    ("lacking", "device", "precision", "why"),
    [
        (("onnxruntime", "onnx"), "cpu", "auto", "onnxruntime and onnx not installed: `pip install 'hydra-ray[onnx]'`"),
        ((), "cuda", "auto", "it encodes on CPUs, and this process on cuda: leave GPUs out"),
        ((), "cpu", "bfloat16", "it computes in float32, not in bfloat16: set precision: float32"),
    ],
)
def test_who_wants_it_where_it_cannot_be_is_told_why(monkeypatch, lacking, device, precision, why):
    stands_for_installed(monkeypatch, *lacking)
    with pytest.raises(HydraError) as told:
        computing(runtime="onnx", precision=precision).by_onnx(device)
    assert str(told.value) == f"runtime: onnx: {why}; or set runtime: auto"
    assert not computing(runtime="auto", precision=precision).by_onnx(device)


def test_who_wants_it_wants_float32_whatever_the_processor_is_faster_at(monkeypatch):
    monkeypatch.setenv("HYDRA_PRECISION", "bfloat16")
    assert computing(runtime="onnx").arithmetic("cpu") == "float32"
    assert computing(runtime="auto").arithmetic("cpu") == "bfloat16"
    for section in ({"embedder": {}}, {"base": {"encoder": {}}}):
        (top,) = section
        inner = section[top] if top == "embedder" else section[top]["encoder"]
        inner |= {"runtime": "onnx", "precision": "bfloat16"}
        with pytest.raises(SettingsError, match="runtime: onnx computes in float32; set precision to auto or float32"):
            parse_settings(section)


@pytest.mark.usefixtures("installed", "never_written")
def test_an_encoder_that_it_cannot_run_is_torchs_and_that_is_said_once(encoder, caplog):
    made = encoder("auto")
    with caplog.at_level(logging.WARNING):
        found = [made.embed(TEXTS) for _ in range(2)][-1]
    assert_close(found, encoder("torch").embed(TEXTS))
    (record,) = caplog.records
    assert record.getMessage() == "ONNX Runtime cannot run the encoder, so torch does"
    assert isinstance(record.exc_info[1], NotImplementedError)
    with pytest.raises(HydraError) as told:
        encoder("onnx").embed(TEXTS)
    expected = "runtime: onnx: ONNX Runtime cannot run the encoder: no such operator; set runtime: auto"
    assert str(told.value) == expected


@pytest.mark.usefixtures("installed")
def test_one_that_computes_something_else_is_not_kept(encoder, tmp_path, monkeypatch, caplog):
    """A graph that was traced may take for constant what was the traced texts' own."""
    export = session.export

    def of_others_weights(backbone, tokens_of):
        with torch.no_grad():
            weights = backbone.encoder.layer[0].output.dense.weight
            weights.neg_()
            written = export(backbone, tokens_of)
            weights.neg_()
        return written

    monkeypatch.setattr(session, "export", of_others_weights)
    with caplog.at_level(logging.WARNING):
        found = encoder("auto").embed(TEXTS)
    assert_close(found, encoder("torch").embed(TEXTS))
    assert "are off by" in str(caplog.records[0].exc_info[1])
    assert not (tmp_path / "cache").exists()


def test_old_files_make_room(tmp_path):
    written = [kept.keep(tmp_path, f"key{number}", b"model %d" % number) for number in range(8)]
    # The first one was used again.
    for number, file in enumerate(written):
        session.os.utime(file, (number, number))
    assert kept.find(tmp_path, "key0") == written[0]
    kept.keep(tmp_path, "key8", b"model 8")
    assert kept.find(tmp_path, "key1") is None
    assert len(files(tmp_path)) == 8
    assert kept.find(tmp_path, "key0") == written[0]
