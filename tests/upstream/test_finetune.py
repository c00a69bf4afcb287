import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ser_nsl.audio.clip import read_audio
from ser_nsl.corpora.manifest import audio_paths, read_manifest, write_manifest
from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.finetune import finetune_upstream
from ser_nsl.upstream.settings import UpstreamConfig
from ser_nsl.upstream.tuner import Tuner

# Three tones are told apart within a few steps.
CONFIG = UpstreamConfig(
    epochs=6,
    batch_size=5,
    learning_rate=0.005,
    clip_seconds=0.25,
    freeze_feature_encoder=False,
    keep="best",
    seed=3,
)


FROZEN = replace(CONFIG, freeze_feature_encoder=True)


def named(model) -> dict[str, np.ndarray]:
    return {v.name.partition("/")[2]: v.numpy() for v in model.weights}


def weights_of(folder) -> dict[str, np.ndarray]:
    return named(load_upstream(str(folder))[0])


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("history.json", "config.json", "model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def with_settings(upstream: Path, out: Path, **settings) -> Path:
    """The checkpoint with other settings in config.json."""
    shutil.copytree(upstream, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | settings))
    return out


def is_convolution(name: str) -> bool:
    return name.startswith("wav2vec2/feature_extractor/")


def test_learns_tones_and_repeats_itself(small_upstream, tone_manifest, tmp_path):
    outs = tmp_path / "once", tmp_path / "again"
    results = [
        finetune_upstream(
            manifest=tone_manifest, upstream=str(small_upstream), out=out, config=CONFIG
        )
        for out in outs
    ]

    weights, again = map(weights_of, outs)
    assert_equal(weights, again)
    before = weights_of(small_upstream)
    assert not any(
        np.array_equal(value, before[name]) for name, value in weights.items() if "kernel" in name
    )
    history = json.loads((outs[0] / "history.json").read_text())
    assert len(history) == 6
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    uars = [epoch["val_uar"] for epoch in history]
    assert results[0].counts == results[1].counts
    assert results[0].counts == {
        "clips": 12,
        "parameters": sum(value.size for value in weights.values()),
        "kept_epoch": 1 + uars.index(max(uars)),
        "val_uar": f"{max(uars):.1%}",
    }
    model, extractor = load_upstream(str(outs[0]))
    assert model.config.id2label == {0: "anger", 1: "neutral", 2: "sadness"}
    assert extractor.do_normalize


def test_frozen_convolutions_keep_their_weights(
    small_upstream, tone_manifest, tone_corpus, tmp_path
):
    # Pre-trained checkpoints mask and drop; a dropped layer would keep its weights.
    checkpoint = with_settings(
        small_upstream,
        tmp_path / "checkpoint",
        apply_spec_augment=True,
        mask_time_prob=0.2,
        mask_time_length=2,
        layerdrop=1.0,
    )
    table = read_manifest(tone_manifest)
    unlabelled = table.index[table["split"] == "train"][0]
    table.loc[unlabelled, "emotion"] = ""
    write_manifest(table[table["split"] != "val"], tmp_path / "manifest.csv")

    result = finetune_upstream(
        manifest=tmp_path / "manifest.csv",
        upstream=str(checkpoint),
        out=tmp_path / "out",
        audio_dir=tone_corpus,
        config=replace(CONFIG, freeze_feature_encoder=True, keep="last", epochs=2),
    )

    before, after = weights_of(checkpoint), weights_of(tmp_path / "out")
    trained = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    assert trained == {name for name in after if not is_convolution(name)}
    assert result.counts["clips"] == 11
    assert result.counts["kept_epoch"] == 2
    assert result.counts["parameters"] == sum(after[name].size for name in trained)


@pytest.fixture
def uars(monkeypatch):
    """Scores of the epochs as given, whatever the weights, which are noted down."""
    noted = []

    def arrange(*scores: float) -> list[dict[str, np.ndarray]]:
        def uar(tuner: Tuner, batches) -> float:
            noted.append(named(tuner.model))
            return scores[len(noted) - 1]

        monkeypatch.setattr(Tuner, "uar", uar)
        return noted

    return arrange


@pytest.mark.parametrize("keep, kept", [("best", 2), ("last", 4)])
def test_weights_of_the_kept_epoch_are_saved(
    keep, kept, uars, small_upstream, tone_manifest, tmp_path
):
    noted = uars(0.2, 0.6, 0.4, 0.6)
    result = finetune_upstream(
        manifest=tone_manifest,
        upstream=str(small_upstream),
        out=tmp_path / "out",
        config=replace(FROZEN, epochs=4, keep=keep),
    )

    history = json.loads((tmp_path / "out" / "history.json").read_text())
    assert [epoch["val_uar"] for epoch in history] == [0.2, 0.6, 0.4, 0.6]
    assert result.counts["kept_epoch"] == kept
    assert result.counts["val_uar"] == "60.0%"
    assert_equal(weights_of(tmp_path / "out"), noted[kept - 1])
    assert not np.array_equal(noted[1]["projector/kernel:0"], noted[3]["projector/kernel:0"])


@pytest.fixture
def hard_to_repeat(small_upstream, tone_manifest, tmp_path):
    """Arguments of a run with all that is random: dropout, masks, copies, order; kept late."""
    upstream = with_settings(
        small_upstream,
        tmp_path / "random",
        hidden_dropout=0.2,
        feat_proj_dropout=0.2,
        apply_spec_augment=True,
        mask_time_prob=0.2,
        mask_time_length=2,
        mask_feature_prob=0.2,
        mask_feature_length=3,
    )
    config = replace(FROZEN, epochs=4, augmentations=1, schedule="linear", accumulate=5)
    return {"manifest": tone_manifest, "upstream": str(upstream), "config": config}


def test_stopped_run_ends_as_one_that_was_not(hard_to_repeat, tmp_path, monkeypatch, capsys):
    whole = finetune_upstream(**hard_to_repeat, out=tmp_path / "whole")
    steps, real = [], Tuner.train

    def stop_in_epoch_3(tuner: Tuner, inputs, labels, random) -> float:
        steps.append(len(labels))
        if len(steps) == 8:
            raise KeyboardInterrupt
        return real(tuner, inputs, labels, random)

    monkeypatch.setattr(Tuner, "train", stop_in_epoch_3)
    with pytest.raises(KeyboardInterrupt):
        finetune_upstream(**hard_to_repeat, out=tmp_path / "stopped")
    assert not (tmp_path / "stopped").exists()
    resumed = finetune_upstream(**hard_to_repeat, out=tmp_path / "stopped")

    assert "goes on after epoch 2 of a run that was stopped" in capsys.readouterr().out
    assert steps == [5, 5, 2, 5, 5, 2, 5, 5] + 2 * [5, 5, 2]
    assert_same_run(tmp_path / "stopped", tmp_path / "whole")
    assert resumed.counts == whole.counts
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == [
        "config.json",
        "history.json",
        "logs",
        "model.safetensors",
        "preprocessor_config.json",
        "stage.json",
    ]


@pytest.mark.slow
def test_killed_run_ends_as_one_that_was_not(hard_to_repeat, tmp_path):
    """In a process of its own, which kills itself the hard way once an epoch is saved."""
    hard_to_repeat["config"] = replace(hard_to_repeat["config"], epochs=3)
    finetune_upstream(**hard_to_repeat, out=tmp_path / "whole")
    script = f"""
import os, signal
from pathlib import PosixPath
from ser_nsl.pipeline.progress import Progress
from ser_nsl.upstream import UpstreamConfig, finetune_upstream
def save_and_die(self, measured, save=Progress.save):
    save(self, measured)
    os.kill(os.getpid(), signal.SIGKILL)
Progress.save = save_and_die
finetune_upstream(**{hard_to_repeat!r}, out={tmp_path / "killed"!r})
"""
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / ".killed.partial" / "unfinished" / "epochs" / "checkpoint").exists()
    finetune_upstream(**hard_to_repeat, out=tmp_path / "killed")
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_replicas_share_batches(small_upstream, tone_manifest, tmp_path):
    """In a process of its own, which has two devices."""
    upstream = with_settings(small_upstream, tmp_path / "certain", activation_dropout=0.0)
    config = replace(FROZEN, batch_size=8, accumulate=2, epochs=3, schedule="linear")
    given = {"manifest": tone_manifest, "upstream": str(upstream), "config": config}
    script = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import PosixPath
from ser_nsl.pipeline.experiment import UpstreamConfig
from ser_nsl.upstream import finetune
finetune.all_devices = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
print(finetune.all_devices().num_replicas_in_sync)
finetune.finetune_upstream(**{given!r}, out={tmp_path / "two"!r})
"""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    finetune_upstream(**given, out=tmp_path / "one")

    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.startswith("2\n")
    one, two = (
        [
            list(epoch.values())
            for epoch in json.loads((tmp_path / name / "history.json").read_text())
        ]
        for name in ("one", "two")
    )
    np.testing.assert_allclose(one, two, atol=1e-4)
    assert one[-1][0] < 0.7 * one[0][0]


def test_full_disk_leaves_the_epoch_before(hard_to_repeat, tmp_path, monkeypatch):
    whole = finetune_upstream(**hard_to_repeat, out=tmp_path / "whole")
    saves, real = [], tf.train.CheckpointManager.save

    def fill_up(manager: tf.train.CheckpointManager) -> str:
        saves.append(manager)
        if len(saves) != 3:
            return real(manager)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, unlimited[1]))
        try:
            real(manager)
        except tf.errors.OpError as error:  # in words that fit a limit, not a disk
            raise tf.errors.ResourceExhaustedError(
                None, None, f"{error.message}; No space left on device"
            ) from error
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", fill_up)
    with pytest.raises(InputError, match=r"out: no space left on the disk; free some"):
        finetune_upstream(**hard_to_repeat, out=tmp_path / "out")
    result = finetune_upstream(**hard_to_repeat, out=tmp_path / "out")

    assert len(saves) == 3 + 2
    assert_same_run(tmp_path / "out", tmp_path / "whole")
    assert result.counts == whole.counts


def test_each_epoch_hears_each_clip_once(small_upstream, tone_manifest, tmp_path, monkeypatch):
    heard, real = [], Tuner.train

    def listen(tuner: Tuner, inputs, labels, random) -> float:
        heard.extend(inputs[:, 100].tolist())
        return real(tuner, inputs, labels, random)

    monkeypatch.setattr(Tuner, "train", listen)
    finetune_upstream(
        manifest=tone_manifest,
        upstream=str(small_upstream),
        out=tmp_path / "out",
        config=replace(CONFIG, epochs=4, augmentations=2),
    )

    epochs = [heard[start : start + 12] for start in range(0, 48, 12)]
    assert sorted(epochs[0]) == sorted(epochs[3])
    assert epochs[0] != epochs[3]
    assert len({*epochs[0], *epochs[1], *epochs[2]}) == 36
    table = read_manifest(tone_manifest).query("split == 'train'")
    originals = {float(read_audio(path)[100]) for path in audio_paths(table, tone_manifest, None)}
    assert originals < set(heard)
    assert all(0 < len(originals & set(epoch)) < 12 for epoch in epochs)


def test_frozen_convolutions_run_once(small_upstream, tone_manifest, tmp_path, monkeypatch):
    shapes, real = [], Tuner.train

    def note(tuner: Tuner, inputs, labels, random) -> float:
        shapes.append(inputs.shape[1:])
        monkeypatch.setattr(Tuner, "frames", None)
        return real(tuner, inputs, labels, random)

    monkeypatch.setattr(Tuner, "train", note)
    finetune_upstream(
        manifest=tone_manifest,
        upstream=str(small_upstream),
        out=tmp_path / "out",
        config=replace(FROZEN, epochs=2),
    )

    assert shapes == 6 * [(12, 8)]


def test_logs_for_tensorboard(small_upstream, tone_manifest, tmp_path):
    finetune_upstream(
        manifest=tone_manifest,
        upstream=str(small_upstream),
        out=tmp_path / "out",
        config=replace(FROZEN, epochs=2, schedule="linear"),
    )

    logs = EventAccumulator(str(tmp_path / "out" / "logs")).Reload()
    logged = {
        name: {
            event.step: tf.make_ndarray(event.tensor_proto).item() for event in logs.Tensors(name)
        }
        for name in ("loss", "val_uar", "learning_rate")
    }
    history = json.loads((tmp_path / "out" / "history.json").read_text())
    for name in ("loss", "val_uar"):
        assert logged[name] == pytest.approx({i + 1: history[i][name] for i in range(2)})
    # Six steps: after the warm-up of 0.6 steps, 5.4 steps lead down to zero.
    assert logged["learning_rate"] == pytest.approx({1: 0.005 * 4 / 5.4, 2: 0.005 / 5.4})


def test_best_epoch_needs_validation(small_upstream, tone_manifest, tone_corpus, tmp_path):
    table = read_manifest(tone_manifest)
    write_manifest(table[table["split"] != "val"], tmp_path / "manifest.csv")

    with pytest.raises(InputError, match="has no validation clips to choose the best epoch on"):
        finetune_upstream(
            manifest=tmp_path / "manifest.csv",
            upstream=str(small_upstream),
            out=tmp_path / "out",
            audio_dir=tone_corpus,
            config=CONFIG,
        )


def test_emotions_missing_in_validation_are_named_before_training(
    tone_manifest, tone_corpus, tmp_path
):
    table = read_manifest(tone_manifest)
    missing = (table["split"] == "val") & table["emotion"].isin(["anger", "sadness"])
    write_manifest(table[~missing], tmp_path / "manifest.csv")

    with pytest.raises(
        InputError,
        match=r"has no clip of anger, sadness; prepare .*--split.*--leave-out.*keep last",
    ):
        finetune_upstream(
            manifest=tmp_path / "manifest.csv",
            upstream="none/at-all",
            out=tmp_path / "out",
            audio_dir=tone_corpus,
            config=CONFIG,
        )


def test_clip_that_is_too_short_is_named(tone_manifest, tone_corpus, tmp_path):
    table = read_manifest(tone_manifest)
    table.loc[table["split"] == "val", "duration_seconds"] = 0.02
    write_manifest(table, tmp_path / "manifest.csv")
    name = table.loc[table["split"] == "val", "utterance_id"].iloc[0]

    with pytest.raises(
        InputError, match=rf"must have 0.025 s or more; 12 of split val .*\(first: {name},"
    ):
        finetune_upstream(
            manifest=tmp_path / "manifest.csv",
            upstream="none/at-all",
            out=tmp_path / "out",
            audio_dir=tone_corpus,
            config=CONFIG,
        )


def test_runaway_loss(small_upstream, tone_manifest, tmp_path):
    with pytest.raises(
        InputError,
        match=r"learning_rate: the loss is nan in epoch 1 at 1e\+30, in the batch of "
        r"(03-[-0-9]+, ){4}03-[-0-9]+; listen to these clips, or choose a lower rate\.$",
    ):
        finetune_upstream(
            manifest=tone_manifest,
            upstream=str(small_upstream),
            out=tmp_path / "out",
            config=replace(FROZEN, learning_rate=1e30),
        )
    assert not (tmp_path / "out").exists()


def test_bad_batch_leaves_the_last_good_epoch(
    uars, small_upstream, tone_manifest, tmp_path, monkeypatch
):
    noted, seen, real = uars(0.5, 0.4, 0.3), [], Tuner.train

    def spoil_the_second_batch_of_epoch_3(tuner: Tuner, inputs, labels, random) -> float:
        seen.append(labels)
        return real(tuner, inputs * (np.nan if len(seen) == 8 else 1), labels, random)

    monkeypatch.setattr(Tuner, "train", spoil_the_second_batch_of_epoch_3)
    with pytest.raises(InputError, match="is nan in epoch 3 at 0.005, in the batch") as error:
        finetune_upstream(
            manifest=tone_manifest,
            upstream=str(small_upstream),
            out=tmp_path / "out",
            config=FROZEN,
        )

    assert f"The weights of epoch 2 are in {tmp_path / '.out.partial'}; move" in str(error.value)
    assert_equal(weights_of(tmp_path / ".out.partial"), noted[1])
    ids = str(error.value).split("batch of ")[1].split(";")[0].split(", ")
    table = read_manifest(tone_manifest).set_index("utterance_id")
    emotions = ("anger", "neutral", "sadness")
    assert [emotions.index(table.loc[name, "emotion"]) for name in ids] == list(seen[7])
