import numpy as np
import pytest
from transformers import Wav2Vec2FeatureExtractor

from ser_nsl.audio import fit_length, read_audio
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.records import has_split, read_embeddings
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.embed import embedder, extract_embeddings


@pytest.fixture(scope="module")
def model(small_upstream):
    return load_upstream(str(small_upstream))[0]


@pytest.fixture(scope="module")
def embed(model):
    return embedder(model, Wav2Vec2FeatureExtractor(do_normalize=True))


@pytest.fixture(scope="module")
def waveforms() -> np.ndarray:
    """Seven clips from a whisper to a shout."""
    noise = np.random.default_rng(0).normal(size=(7, 4_000))
    return (noise * np.logspace(-3, 0, 7)[:, np.newaxis]).astype(np.float32)


def test_embedding_is_the_projection_averaged_over_time(model, embed, waveforms):
    mean, deviation = waveforms.mean(axis=1, keepdims=True), waveforms.std(axis=1, keepdims=True)
    hidden = model.wav2vec2((waveforms - mean) / deviation).last_hidden_state.numpy()
    kernel, bias = model.projector.get_weights()

    found = embed(waveforms).numpy()

    assert found.shape == (7, 256)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, (hidden @ kernel + bias).mean(axis=1), atol=1e-4)


@pytest.mark.parametrize("size", [1, 3])
def test_embedding_does_not_depend_on_its_batch(size, embed, waveforms):
    together = embed(waveforms).numpy()

    for start in range(0, len(waveforms), size):
        some = embed(waveforms[start : start + size])
        np.testing.assert_allclose(some, together[start : start + size], atol=1e-5)
    assert np.ptp(together, axis=0).max() > 1e-2


@pytest.mark.parametrize("batch_size", [1, 5, 16])
def test_records_join_clips_and_embeddings(
    batch_size, embed, small_upstream, tone_manifest, tone_corpus, tmp_path
):
    out = tmp_path / "embeddings"
    result = extract_embeddings(
        manifest=tone_manifest,
        upstream=str(small_upstream),
        out=out,
        clip_seconds=0.3,
        splits=("train", "test"),
        batch_size=batch_size,
        shards=2,
    )

    rows = read_manifest(tone_manifest)
    rows = rows[rows["split"] != "val"]
    vectors = read_embeddings(out, ("train", "test"))
    assert vectors.keys() == set(rows["utterance_id"])
    assert not has_split(out, "val")
    for utterance_id, path in zip(rows["utterance_id"], rows["path"], strict=True):
        clip = fit_length(read_audio(tone_corpus / path), 4_800)
        expected = embed(clip[np.newaxis])[0]
        np.testing.assert_allclose(vectors[utterance_id], expected, atol=1e-5)
    assert result.counts == {"train": 12, "test": 12, "width": 256}


def test_clips_are_as_long_as_the_longest(
    embed, small_upstream, tone_manifest, tone_corpus, tmp_path
):
    out = tmp_path / "embeddings"
    extract_embeddings(manifest=tone_manifest, upstream=str(small_upstream), out=out)

    rows = read_manifest(tone_manifest)
    samples = round(rows["duration_seconds"].max() * 16_000)
    row = rows[rows["split"] == "train"].iloc[0]
    clip = fit_length(read_audio(tone_corpus / row["path"]), samples)
    found = read_embeddings(out, ("train",))[row["utterance_id"]]
    np.testing.assert_allclose(found, embed(clip[np.newaxis])[0], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"splits": ("train", "dev")}, "splits: .* has no clip in dev"),
        ({"clip_seconds": 0.02}, "clip_seconds: must hold 400 samples"),
        ({"upstream": "./nowhere"}, "upstream: ./nowhere is not a folder"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    arguments, message, small_upstream, tone_manifest, tmp_path
):
    arguments = {"upstream": str(small_upstream)} | arguments
    with pytest.raises(InputError, match=message):
        extract_embeddings(manifest=tone_manifest, out=tmp_path / "embeddings", **arguments)
