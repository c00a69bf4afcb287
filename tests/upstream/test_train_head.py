import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ser_nsl.audio.records import read_embeddings
from ser_nsl.corpora.manifest import read_manifest, write_manifest
from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.choose import best_layers
from ser_nsl.upstream.embed import extract_embeddings
from ser_nsl.upstream.embedder import Embedder
from ser_nsl.upstream.settings import HeadConfig
from ser_nsl.upstream.train_head import train_head

WHISPER = str(Path(__file__).parent / "fixtures" / "whisper")
CONFIG = HeadConfig(layers=(0, 1), clip_seconds=0.3, epochs=15, learning_rate=1e-2)


@pytest.fixture(scope="module")
def trained(tone_manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("head") / "out"
    return train_head(manifest=tone_manifest, upstream=WHISPER, out=out, config=CONFIG), out


def test_learns_tones_and_scores_the_test_speakers(trained, tone_manifest, tone_corpus):
    result, out = trained
    upstream = load_upstream(str(out))
    head = upstream.require_head()
    embedder = Embedder(upstream, 4_800)

    assert (head.classes, head.layers) == (("anger", "neutral", "sadness"), (0, 1))
    assert (head.pooling, head.activation) == ("statistics", "relu")
    table = read_manifest(tone_manifest)
    uars = {}
    for split in ("val", "test"):
        rows = table[table["split"] == split]
        logits = head.logits(embedder.embed_files([tone_corpus / p for p in rows["path"]], split))
        right = np.array(head.classes)[logits.argmax(axis=1)] == rows["emotion"]
        uars[split] = right.groupby(rows["emotion"]).mean().mean()
    assert result.counts["clips"] == 12
    assert result.counts["layers"] == "0+1"
    assert 1 <= result.counts["epoch"] <= 15
    assert result.counts["val_uar"] == f"{uars['val']:.1%}"
    assert result.counts["test_uar"] == f"{uars['test']:.1%}"
    assert uars["test"] > 0.5  # by chance a third


def test_the_encoder_is_left_as_it_was(trained):
    found, before = (load_upstream(str(each)) for each in (trained[1], WHISPER))

    assert found.fingerprint(with_head=False) == before.fingerprint(with_head=False)


def test_same_seed_same_bytes(trained, tone_manifest, tmp_path):
    for name, config in (("same", CONFIG), ("other", replace(CONFIG, seed=1))):
        train_head(manifest=tone_manifest, upstream=WHISPER, out=tmp_path / name, config=config)

    files = {path.name for path in trained[1].iterdir()} - {"stage.json"}
    assert {"emotion_head.json", "emotion_head.safetensors", "model.safetensors"} < files
    for name in files:
        assert (tmp_path / "same" / name).read_bytes() == (trained[1] / name).read_bytes(), name
    weights = [tmp_path / name / "emotion_head.safetensors" for name in ("same", "other")]
    assert weights[0].read_bytes() != weights[1].read_bytes()


def test_it_embeds_as_any_other_upstream(trained, tone_manifest, tmp_path):
    result = extract_embeddings(
        manifest=tone_manifest, upstream=str(trained[1]), out=tmp_path / "out", clip_seconds=0.3
    )

    assert result.counts["width"] == 256
    assert result.counts["upstream"].endswith(":fc1")
    assert {len(v) for v in read_embeddings(tmp_path / "out", ("train",)).values()} == {256}


def test_labels_that_do_not_suffice_are_refused(tone_manifest, tone_corpus, tmp_path):
    table = read_manifest(tone_manifest)
    train, val = table["split"] == "train", table["split"] == "val"
    for number, (rows, message) in enumerate(
        (
            (table[~val], "anger, neutral, sadness in training and none in validation"),
            (table[~train], "clips in the training split"),
            (table[~(val & (table["emotion"] == "anger"))], "and neutral, sadness in validation"),
            (table[table["emotion"] == "anger"], "anger in training and anger in validation"),
        )
    ):
        manifest = tmp_path / f"{number}.csv"
        write_manifest(rows, manifest)
        with pytest.raises(InputError, match=message):
            train_head(
                manifest=manifest,
                upstream=WHISPER,
                out=tmp_path / "out",
                audio_dir=tone_corpus,
                config=CONFIG,
            )
    assert not (tmp_path / "out").exists()


def known(share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pooled frames of 60 clips, in which the emotion of a share of them can be heard."""
    random = np.random.default_rng(seed)
    frames = random.normal(0, 1, (60, 8))
    heard = random.permutation(60) < share * 60
    frames[heard, 0] += 6.0 * (np.arange(60) % 2)[heard]
    return frames[:40].astype(np.float32), frames[40:].astype(np.float32)


def test_the_layer_that_knows_is_chosen():
    labels = np.array(["anger", "joy"] * 30)

    layers = [known(0, 0), known(0, 1), known(1, 2), known(0, 3)]

    assert best_layers(layers, labels[:40], labels[40:]) == (2,)


def test_two_layers_are_chosen_where_each_knows_a_part():
    labels = np.array([["anger", "joy"], ["fear", "calm"]])
    first, second = np.random.default_rng(0).integers(2, size=(2, 200))
    noise = np.random.default_rng(1).normal(0, 0.1, (3, 200, 4)).astype(np.float32)
    noise[1, :, 0] += first
    noise[2, :, 0] += second
    layers = [(each[:120], each[120:]) for each in noise]
    emotions = labels[first, second]

    assert best_layers(layers, emotions[:120], emotions[120:]) == (1, 2)


@pytest.mark.slow
def test_auto_is_the_choice_of_both_stages(tone_manifest, tmp_path, capsys):
    config = replace(CONFIG, layers=(), epochs=1)
    head = train_head(
        manifest=tone_manifest, upstream=WHISPER, out=tmp_path / "head", config=config
    )
    embedded = extract_embeddings(
        manifest=tone_manifest,
        upstream=WHISPER,
        out=tmp_path / "embedded",
        layers="auto",
        source=tone_manifest,
        clip_seconds=0.3,
    )

    layers = json.loads((tmp_path / "head" / "emotion_head.json").read_text())["layers"]
    assert head.counts["layers"] == "+".join(map(str, layers))
    assert ":layers" in embedded.counts["upstream"]
    assert "layers 0: validation UAR" in capsys.readouterr().out


def test_a_head_is_replaced_and_not_kept(trained, tone_manifest, tmp_path):
    """The upstream may have a head already, here as one that transformers made."""
    group = shutil.copytree(Path(WHISPER).with_name("group"), tmp_path / "group")
    assert load_upstream(str(group)).require_head().width == 256
    config = replace(CONFIG, epochs=1)

    train_head(manifest=tone_manifest, upstream=str(group), out=tmp_path / "out", config=config)

    assert load_upstream(str(tmp_path / "out")).require_head().activation == "relu"
