import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks.random_upstream import make_upstream
from ser_nsl.audio.batches import read_examples
from ser_nsl.audio.clip import fit_length, read_audio
from ser_nsl.audio.records import read_embeddings
from ser_nsl.audio.shards import has_split, shard_paths
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.upstream import embed
from ser_nsl.upstream.checkpoint import load_for_finetuning, load_upstream
from ser_nsl.upstream.embed import extract_embeddings
from ser_nsl.upstream.embedder import Embedder

SAMPLES = 4_000
FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="module")
def upstream(small_upstream):
    return load_upstream(str(small_upstream))


@pytest.fixture(scope="module", params=["group", "layer", "hubert", "whisper"])
def encoder_only(request):
    """Two layers of width 16 of every architecture."""
    return load_upstream(str(FIXTURES / request.param))


@pytest.fixture(scope="module")
def waveforms() -> np.ndarray:
    """Sixteen clips, each louder than the one before."""
    noise = np.random.default_rng(0).normal(size=(16, SAMPLES))
    return (noise * np.logspace(-3, 0, 16)[:, np.newaxis]).astype(np.float32)


def test_embedding_is_the_projection_averaged_over_time(upstream, small_upstream, waveforms):
    model, _ = load_for_finetuning(str(small_upstream), ("LABEL_0", "LABEL_1"))
    mean, deviation = waveforms.mean(axis=1, keepdims=True), waveforms.std(axis=1, keepdims=True)
    hidden = model.wav2vec2((waveforms - mean) / deviation).last_hidden_state.numpy()
    kernel, bias = model.projector.get_weights()

    embedder = Embedder(upstream, SAMPLES)
    found = embedder(waveforms).numpy()

    assert found.shape == (16, embedder.width) == (16, 256)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (hidden @ kernel + bias).mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
def test_embedding_is_of_the_layers_over_time(pooling, encoder_only, waveforms):
    frames = encoder_only.encoder.frames(waveforms, (2, 0))
    statistics = [each.numpy().mean(axis=1) for each in frames]
    if pooling == "statistics":
        deviations = [each.numpy().std(axis=1) for each in frames]
        statistics = [statistics[0], deviations[0], statistics[1], deviations[1]]

    embedder = Embedder(encoder_only, SAMPLES, layers=(2, 0), pooling=pooling)
    found = embedder(waveforms).numpy()

    assert found.shape == (16, embedder.width) == (16, 16 * len(statistics))
    assert embedder.name.endswith(f":layers2+0:{pooling}")
    np.testing.assert_allclose(found, np.concatenate(statistics, axis=1), atol=1e-4)


def test_layers_do_not_depend_on_their_batch(encoder_only, waveforms):
    assert_apart(Embedder(encoder_only, SAMPLES, layers=(1, 2)), waveforms)


def test_projection_does_not_depend_on_its_batch(upstream, waveforms):
    assert_apart(Embedder(upstream, SAMPLES), waveforms)


def assert_apart(embedder: Embedder, waveforms: np.ndarray) -> None:
    alone = np.concatenate([embedder.step(waveform[np.newaxis]) for waveform in waveforms])
    random = np.random.default_rng(1)
    for size in (2, 3, 16):
        batch = random.permutation(16)[:size]
        np.testing.assert_allclose(embedder.step(waveforms[batch]), alone[batch], atol=1e-5)
    assert np.ptp(alone, axis=0).max() > 1e-2


def test_long_clip_is_the_mean_of_windows_that_cover_it(upstream, waveforms):
    # 9,000 samples take three windows of 4,000, which start at 0, 2,500 and 5,000.
    long = waveforms.reshape(-1)[:18_000].reshape(2, 9_000)
    embedder = Embedder(upstream, SAMPLES, batch_size=2)

    found = embedder(long)

    windows = [embedder.step(long[:, start : start + 4_000]) for start in (0, 2_500, 5_000)]
    np.testing.assert_allclose(found, np.mean(windows, axis=0), atol=1e-5)


def test_records_join_clips_and_embeddings(
    upstream, small_upstream, tone_manifest, tone_corpus, tmp_path
):
    out = tmp_path / "embeddings"
    result = extract_embeddings(
        manifest=tone_manifest,
        upstream=str(small_upstream),
        out=out,
        clip_seconds=0.3,
        splits=("train", "test"),
        batch_size=5,
        shards=2,
    )

    rows = read_manifest(tone_manifest)
    rows = rows[rows["split"] != "val"]
    vectors = read_embeddings(out, ("train", "test"))
    assert vectors.keys() == set(rows["utterance_id"])
    assert not has_split(out, "val")
    embedder = Embedder(upstream, 4_800)
    for utterance_id, path in zip(rows["utterance_id"], rows["path"], strict=True):
        clip = fit_length(read_audio(tone_corpus / path), 4_800)
        expected = embedder(clip[np.newaxis])[0]
        np.testing.assert_allclose(vectors[utterance_id], expected, atol=1e-5)
    name = f"{upstream.fingerprint(with_head=True)}:fc1"
    assert result.counts == {
        "train": 12,
        "test": 12,
        "in_windows": 0,
        "width": 256,
        "upstream": name,
    }
    for example in read_examples(shard_paths(out, "test")):
        assert example.features.feature["upstream"].bytes_list.value == [name.encode()]


def test_no_clip_is_cut(upstream, small_upstream, tone_manifest, tone_corpus, tmp_path, capsys):
    """Short clips are repeated to one window, longer ones divided into several."""
    out = tmp_path / "embeddings"
    result = extract_embeddings(
        manifest=tone_manifest,
        upstream=str(small_upstream),
        out=out,
        window_seconds=0.35,
        batch_size=3,
    )

    rows = read_manifest(tone_manifest)
    rows = rows[rows["split"] == "train"]
    window = round(0.35 * 16_000)
    embedder = Embedder(upstream, window)
    vectors = read_embeddings(out, ("train",))
    several = 0
    for utterance_id, path in zip(rows["utterance_id"], rows["path"], strict=True):
        clip = read_audio(tone_corpus / path)
        several += len(clip) > window
        clip = fit_length(clip, max(len(clip), window))
        np.testing.assert_allclose(vectors[utterance_id], embedder(clip[np.newaxis])[0], atol=1e-5)
    assert result.counts["in_windows"] == several
    assert 0 < several < 12
    assert f"{several} of 12 clips" in capsys.readouterr().out


@pytest.mark.parametrize("cut", [pytest.param(0, marks=pytest.mark.slow), 40])
def test_killed_run_goes_on_and_ends_with_the_same_bytes(
    cut, small_upstream, tone_manifest, tmp_path, monkeypatch
):
    arguments = {
        "manifest": tone_manifest,
        "upstream": str(small_upstream),
        "window_seconds": 0.35,
        "splits": ("val", "train"),
        "batch_size": 3,
        "shards": 2,
    }
    extract_embeddings(**arguments, out=tmp_path / "whole")
    read: list[str] = []

    def read_some(paths, samples, *, batch):
        for waveforms in read_batches(paths, samples, batch=batch):
            if len(read) >= most:
                raise KeyboardInterrupt
            read.extend(paths[: len(waveforms)])
            paths = paths[len(waveforms) :]
            yield waveforms

    read_batches, most = embed.read_batches, 18
    monkeypatch.setattr(embed, "read_batches", read_some)
    with pytest.raises(KeyboardInterrupt):
        extract_embeddings(**arguments, out=tmp_path / "killed")
    assert not (tmp_path / "killed").exists()
    (shard,) = tmp_path.glob(".killed.partial/train-00000-of-*.tfrecord")
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size - cut])
    before, most = set(read), 1_000
    read.clear()
    extract_embeddings(**arguments, out=tmp_path / "killed")

    assert len(before) >= 18
    assert 24 - len(before) <= len(read) <= 24 - len(before) + (6 if cut else 0)
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }
    for path in (tmp_path / "whole").glob("*.tfrecord"):
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes()


def test_checkpoint_without_a_head_gives_its_layers(small_upstream, tone_manifest, tmp_path):
    headless = shutil.copytree(small_upstream, tmp_path / "headless")
    weights = load_file(headless / "model.safetensors")
    weights = {name: value for name, value in weights.items() if name.startswith("wav2vec2")}
    save_file(weights, headless / "model.safetensors", metadata={"format": "tf"})
    arguments = {"manifest": tone_manifest, "upstream": str(headless), "clip_seconds": 0.3}

    with pytest.raises(InputError, match="upstream: .*headless.*head"):
        extract_embeddings(**arguments, out=tmp_path / "fc1")
    result = extract_embeddings(**arguments, out=tmp_path / "layer", layers=(1,), pooling="mean")

    assert result.counts["width"] == 16
    assert result.counts["upstream"].endswith(":layers1:mean")
    assert {len(v) for v in read_embeddings(tmp_path / "layer", ("train",)).values()} == {16}


def test_names_of_checkpoints_and_layers_differ(upstream, small_upstream, tmp_path):
    make_upstream(out=tmp_path / "other", hidden_size=16, layers=1, channels=8, seed=1)
    other, again = load_upstream(str(tmp_path / "other")), load_upstream(str(small_upstream))

    names = [Embedder(made, SAMPLES).name for made in (upstream, again, other)]
    for layers, pooling in (((0,), "mean"), ((1,), "mean"), ((0, 1), "mean"), ((1,), "statistics")):
        names.append(Embedder(upstream, SAMPLES, layers=layers, pooling=pooling).name)

    assert names[0] == names[1]
    assert len(set(names)) == 6


def test_layers_of_one_encoder_have_one_name_whatever_its_head(upstream):
    names = {
        Embedder(each, SAMPLES, layers=(1,)).name
        for each in (upstream, replace(upstream, head=None))
    }
    assert len(names) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"splits": ("train", "dev")}, "splits: .*dev"),
        ({"clip_seconds": 0.02}, "clip_seconds, window_seconds: .*400 samples"),
        ({"window_seconds": 0.02}, "400 samples .*0.02 s"),
        ({"clip_seconds": float("inf")}, "clip_seconds, window_seconds: .*3600 s at most"),
        ({"batch_size": 0}, "batch_size: .*received 0"),
        ({"shards": 0}, "shards: .*received 0"),
        ({"upstream": "./nowhere"}, "upstream: ./nowhere"),
        ({"layers": (2,)}, r"layers: .*0 to 1.*received \(2,\)"),
        ({"layers": "auto"}, "source: .*received layers auto and source None"),
        ({"source": Path("x.csv")}, "source: x.csv does not exist"),
    ],
)
def test_settings_are_refused_before_any_clip_is_read(
    arguments, message, small_upstream, tone_manifest, tone_corpus, tmp_path
):
    for path in tone_corpus.glob("*/*.wav"):
        empty = tmp_path / "audio" / path.relative_to(tone_corpus)
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.touch()
    arguments = {"upstream": str(small_upstream), "audio_dir": tmp_path / "audio"} | arguments

    with pytest.raises(InputError, match=message):
        extract_embeddings(manifest=tone_manifest, out=tmp_path / "embeddings", **arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["audio"]


def test_durations_that_the_audio_cannot_have_are_refused(
    small_upstream, tone_manifest, tone_corpus, tmp_path
):
    table = read_manifest(tone_manifest)
    row = table.index[table["split"] == "test"][0]
    table.loc[row, "duration_seconds"] = 80_000
    table.to_csv(tmp_path / "manifest.csv", index=False)

    with pytest.raises(InputError, match=rf"audio, which may .*{table.utterance_id[row]} 80000 s"):
        extract_embeddings(
            manifest=tmp_path / "manifest.csv",
            audio_dir=tone_corpus,
            upstream=str(small_upstream),
            splits=("test",),
            out=tmp_path / "out",
        )
