import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from benchmarks.mini_upstream.make import make_upstream
from benchmarks.mini_upstream.pretrain import pretrain_upstream
from benchmarks.mini_upstream.settings import PretrainingConfig
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.errors import InputError
from ser_nsl.pipeline.progress import Progress
from ser_nsl.upstream.checkpoint import load_for_finetuning
from ser_nsl.upstream.weights import weight_name

pytestmark = pytest.mark.slow

CONFIG = PretrainingConfig(
    convolution_epochs=8,
    convolution_learning_rate=0.01,
    epochs=3,
    learning_rate=0.01,
    batch_size=4,
    clip_seconds=0.3,
    clusters=4,
    mask_frames=2,
)


@pytest.fixture(scope="module")
def with_dropout(tmp_path_factory):
    out = tmp_path_factory.mktemp("upstream") / "random"
    make_upstream(out=out, hidden_size=16, layers=1, channels=8, dropout=0.1, seed=0)
    return out


def weights_of(folder) -> dict[str, np.ndarray]:
    model, _ = load_for_finetuning(str(folder), ("LABEL_0", "LABEL_1"))
    return {weight_name(variable): variable.numpy() for variable in model.weights}


@pytest.fixture(scope="module")
def pretrained(with_dropout, tone_corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("pretrained") / "out"
    result = pretrain_upstream(
        audio=(tone_corpus,), upstream=str(with_dropout), out=out, config=CONFIG
    )
    return result, out


def test_both_parts_learn(pretrained, tone_corpus):
    result, out = pretrained
    losses = json.loads((out / "history.json").read_text())

    clips = sorted(tone_corpus.rglob("*.wav"))
    seconds = [soundfile.info(path).duration for path in clips]
    assert result.counts["clips"] == len(clips) == 36
    assert result.counts["windows"] == sum(int(np.ceil(s / 0.3)) for s in seconds)
    assert result.counts["hours"] == round(sum(seconds) / 3600, 2)
    assert len(losses["convolutions"]) == 8
    assert losses["convolutions"][-1] < 0.9 * losses["convolutions"][0]
    assert len(losses["transformer"]) == 3
    assert losses["transformer"][-1] < 0.8 * losses["transformer"][0]
    assert not (out / "unfinished").exists()


def test_each_part_changes_its_weights(pretrained, with_dropout):
    before, after = weights_of(with_dropout), weights_of(pretrained[1])

    changed = {name for name in before if np.any(before[name] != after[name])}
    assert any("conv_layers.0.conv.weight" in name for name in changed)
    assert any("attention.q_proj.weight" in name for name in changed)
    assert any("projector.weight" in name for name in changed)
    assert any("masked_spec_embed" in name for name in changed)
    assert not any("classifier" in name for name in changed)


def test_adaptation_uses_whole_training_clips_and_leaves_convolutions(
    pretrained, tone_manifest, tmp_path
):
    """Even where config.json would drop all layers, and a clip fills several batches."""
    upstream = shutil.copytree(pretrained[1], tmp_path / "upstream")
    config = json.loads((upstream / "config.json").read_text())
    (upstream / "config.json").write_text(json.dumps(config | {"layerdrop": 1.0}))
    (tmp_path / "audio").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.1, round(16_000 * 0.3 * 9.5))
    soundfile.write(tmp_path / "audio" / "long.wav", noise, 16_000)

    result = pretrain_upstream(
        audio=(tone_manifest, tmp_path / "audio"),
        upstream=str(upstream),
        out=tmp_path / "out",
        config=replace(CONFIG, convolution_epochs=0, epochs=1),
    )

    train = read_manifest(tone_manifest).query("split == 'train'")
    windows = np.ceil(train["duration_seconds"].to_numpy() / 0.3).sum()
    assert result.counts["clips"] == len(train) + 1 < 36
    assert result.counts["windows"] == windows + 10
    before, after = weights_of(upstream), weights_of(tmp_path / "out")
    for name in before:
        if "feature_extractor" in name:
            np.testing.assert_array_equal(before[name], after[name])
        if name.endswith("attention.q_proj.weight"):
            assert np.any(before[name] != after[name])


def test_more_clusters_than_frames_are_refused(with_dropout, tone_corpus, tmp_path):
    with pytest.raises(InputError, match="clusters: .*received 30000"):
        pretrain_upstream(
            audio=(tone_corpus,),
            upstream=str(with_dropout),
            out=tmp_path / "out",
            config=replace(CONFIG, convolution_epochs=0, clusters=30_000),
        )


@pytest.mark.slow
def test_same_seed_same_weights_even_if_stopped_between(
    pretrained, with_dropout, tone_corpus, tmp_path, monkeypatch
):
    arguments = {
        "audio": (tone_corpus,),
        "upstream": str(with_dropout),
        "out": tmp_path / "out",
        "config": CONFIG,
    }
    save, saved = Progress.save, []

    def save_and_stop(self, measured):
        save(self, measured)
        saved.append(measured)
        if len(saved) in (2, 9):  # in the first and in the second part
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "save", save_and_stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            pretrain_upstream(**arguments)
    pretrain_upstream(**arguments)

    assert len(saved) == 11
    whole, stopped = weights_of(pretrained[1]), weights_of(tmp_path / "out")
    for name in whole:
        np.testing.assert_array_equal(whole[name], stopped[name], err_msg=name)


def test_places_without_clips_are_refused(with_dropout, tmp_path):
    (tmp_path / "empty").mkdir()
    for audio, message in (
        ((tmp_path / "empty",), "audio: .*empty"),
        ((), "audio: "),
        ((tmp_path / "absent",), "audio: .*absent"),
    ):
        with pytest.raises(InputError, match=message):
            pretrain_upstream(
                audio=audio, upstream=str(with_dropout), out=tmp_path / "out", config=CONFIG
            )
    assert not (tmp_path / "out").exists()


def test_upstream_without_mask_is_refused(with_dropout, tone_corpus, tmp_path):
    shutil.copytree(with_dropout, tmp_path / "unmasked")
    path = tmp_path / "unmasked" / "config.json"
    settings = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0}
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))

    with pytest.raises(InputError, match="upstream: .*unmasked.*mask_time_prob"):
        pretrain_upstream(
            audio=(tone_corpus,),
            upstream=str(tmp_path / "unmasked"),
            out=tmp_path / "out",
            config=CONFIG,
        )


def test_loss_that_is_not_finite_stops(with_dropout, tone_corpus, tmp_path):
    with pytest.raises(InputError, match="config: .*convolutions.*1e\\+30"):
        pretrain_upstream(
            audio=(tone_corpus,),
            upstream=str(with_dropout),
            out=tmp_path / "out",
            config=replace(CONFIG, convolution_learning_rate=1e30),
        )
