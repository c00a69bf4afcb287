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

from ser_nsl.corpora.manifest import read_manifest, write_manifest
from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_for_finetuning, load_upstream
from ser_nsl.upstream.finetune import finetune_upstream
from ser_nsl.upstream.settings import FineTuningConfig
from ser_nsl.upstream.tuner import Tuner

# A few steps are enough to recognise three tones.
CONFIG = FineTuningConfig(
    epochs=6,
    batch_size=5,
    learning_rate=0.005,
    schedule="linear",
    clip_seconds=0.25,
    freeze_feature_encoder=False,
    seed=3,
)
FROZEN = replace(CONFIG, freeze_feature_encoder=True, schedule="constant")


def named(model) -> dict[str, np.ndarray]:
    return {v.name.partition("/")[2]: v.numpy() for v in model.weights}


def weights_of(folder) -> dict[str, np.ndarray]:
    labels = json.loads((folder / "config.json").read_text()).get("id2label")
    classes = tuple(labels.values()) if labels else ("LABEL_0", "LABEL_1")
    return named(load_for_finetuning(str(folder), classes)[0])


def history_of(folder) -> list[dict[str, float]]:
    return json.loads((folder / "history.json").read_text())


def assert_same_run(one: Path, other: Path) -> None:
    for name in ("history.json", "config.json", "model.safetensors"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def with_settings(upstream: Path, out: Path, **settings) -> Path:
    """The checkpoint with other settings in config.json."""
    shutil.copytree(upstream, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | settings))
    return out


def test_learns_tones_and_logs_it(small_upstream, tone_manifest, tmp_path):
    out = tmp_path / "out"
    result = finetune_upstream(
        manifest=tone_manifest, upstream=str(small_upstream), out=out, config=CONFIG
    )

    weights, before = weights_of(out), weights_of(small_upstream)
    assert not any(
        np.array_equal(value, before[name]) for name, value in weights.items() if "kernel" in name
    )
    history = history_of(out)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    uars = [epoch["val_uar"] for epoch in history]
    assert result.counts == {
        "clips": 12,
        "parameters": sum(value.size for value in weights.values()),
        "kept_epoch": 1 + uars.index(max(uars)),
        "val_uar": f"{max(uars):.1%}",
    }
    upstream = load_upstream(str(out))
    assert upstream.require_head().classes == ("anger", "neutral", "sadness")
    assert upstream.encoder.extractor.do_normalize

    logs = EventAccumulator(str(out / "logs")).Reload()
    logged = {
        name: [tf.make_ndarray(event.tensor_proto).item() for event in logs.Tensors(name)]
        for name in ("loss", "val_uar", "learning_rate")
    }
    for name in ("loss", "val_uar"):
        assert logged[name] == pytest.approx([epoch[name] for epoch in history])
    # Of 18 steps, 1.8 warm up and 16.2 lead down to zero; an epoch has 3 steps.
    expected = [0.005 * (18 - step) / 16.2 for step in range(2, 18, 3)]
    assert logged["learning_rate"] == pytest.approx(expected)


def test_frozen_convolutions_run_once_and_keep_their_weights(
    small_upstream, tone_manifest, tone_corpus, tmp_path, monkeypatch
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
    table.loc[table.index[table["split"] == "train"][0], "emotion"] = ""
    write_manifest(table[table["split"] != "val"], tmp_path / "manifest.csv")
    shapes, real = [], Tuner.train

    def note(tuner: Tuner, inputs, labels, random) -> float:
        shapes.append(inputs.shape[1:])
        monkeypatch.setattr(Tuner, "frames", None)
        return real(tuner, inputs, labels, random)

    monkeypatch.setattr(Tuner, "train", note)
    result = finetune_upstream(
        manifest=tmp_path / "manifest.csv",
        upstream=str(checkpoint),
        out=tmp_path / "out",
        audio_dir=tone_corpus,
        config=replace(FROZEN, keep="last", epochs=2),
    )

    assert shapes == 6 * [(12, 8)]
    before, after = weights_of(checkpoint), weights_of(tmp_path / "out")
    trained = {name for name, value in after.items() if not np.array_equal(value, before[name])}
    assert trained == {name for name in after if not name.startswith("wav2vec2/feature_extractor/")}
    assert result.counts == {
        "clips": 11,
        "parameters": sum(after[name].size for name in trained),
        "kept_epoch": 2,
        "val_uar": None,
    }


def test_weights_of_the_best_epoch_are_saved(small_upstream, tone_manifest, tmp_path, monkeypatch):
    scores, noted = [0.2, 0.6, 0.4, 0.6], []

    def uar(tuner: Tuner, batches) -> float:
        noted.append(named(tuner.model))
        return scores[len(noted) - 1]

    monkeypatch.setattr(Tuner, "uar", uar)
    out = tmp_path / "out"
    result = finetune_upstream(
        manifest=tone_manifest,
        upstream=str(small_upstream),
        out=out,
        config=replace(FROZEN, epochs=4),
    )

    assert [epoch["val_uar"] for epoch in history_of(out)] == scores
    assert (result.counts["kept_epoch"], result.counts["val_uar"]) == (2, "60.0%")
    assert len({(out / name).stat().st_mode for name in ("config.json", "model.safetensors")}) == 1
    for name, value in weights_of(out).items():
        np.testing.assert_array_equal(value, noted[1][name], err_msg=name)
    assert not np.array_equal(noted[1]["projector/kernel:0"], noted[3]["projector/kernel:0"])


@pytest.fixture(scope="module")
def hard_to_repeat(small_upstream, tone_manifest, tmp_path_factory):
    """Arguments of a run with all that is random: dropout, masks, order."""
    upstream = with_settings(
        small_upstream,
        tmp_path_factory.mktemp("random") / "upstream",
        hidden_dropout=0.2,
        feat_proj_dropout=0.2,
        apply_spec_augment=True,
        mask_time_prob=0.2,
        mask_time_length=2,
        mask_feature_prob=0.2,
        mask_feature_length=3,
    )
    config = replace(FROZEN, epochs=4, schedule="linear", accumulate=5)
    return {"manifest": tone_manifest, "upstream": str(upstream), "config": config}


@pytest.fixture(scope="module")
def whole(hard_to_repeat, tmp_path_factory):
    """Result and folder of such a run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    return finetune_upstream(**hard_to_repeat, out=out), out


@pytest.mark.slow
def test_stopped_run_ends_as_one_that_was_not(hard_to_repeat, whole, tmp_path, monkeypatch):
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

    assert steps == [5, 5, 2, 5, 5, 2, 5, 5] + 2 * [5, 5, 2]
    assert_same_run(tmp_path / "stopped", whole[1])
    assert resumed.counts == whole[0].counts
    assert sorted(path.name for path in (tmp_path / "stopped").iterdir()) == [
        "config.json",
        "history.json",
        "logs",
        "model.safetensors",
        "preprocessor_config.json",
        "stage.json",
    ]


@pytest.mark.slow
def test_killed_run_ends_as_one_that_was_not(hard_to_repeat, whole, tmp_path):
    """In a process of its own, which kills itself the hard way once an epoch is saved."""
    script = f"""
import os, signal
from pathlib import PosixPath
from ser_nsl.pipeline.progress import Progress
from ser_nsl.upstream import FineTuningConfig, finetune_upstream
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
    assert_same_run(tmp_path / "killed", whole[1])


@pytest.mark.slow
def test_replicas_divide_batches(small_upstream, tone_manifest, tmp_path):
    """In a process of its own, which has two devices."""
    upstream = with_settings(small_upstream, tmp_path / "certain", activation_dropout=0.0)
    config = replace(FROZEN, batch_size=8, accumulate=2, epochs=3, schedule="linear")
    given = {"manifest": tone_manifest, "upstream": str(upstream), "config": config}
    script = f"""
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pathlib import PosixPath
from ser_nsl.upstream import FineTuningConfig, finetune_upstream, tuner
tuner.all_devices = lambda: tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
print(tuner.all_devices().num_replicas_in_sync)
finetune_upstream(**{given!r}, out={tmp_path / "two"!r})
"""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    finetune_upstream(**given, out=tmp_path / "one")

    assert done.returncode == 0, done.stderr[-2_000:]
    assert done.stdout.startswith("2\n")
    one, two = (
        [[*epoch.values()] for epoch in history_of(tmp_path / name)] for name in ("one", "two")
    )
    np.testing.assert_allclose(one, two, atol=1e-4)
    assert one[-1][0] < 0.7 * one[0][0]


@pytest.mark.slow
def test_full_disk_leaves_the_epoch_before(hard_to_repeat, whole, tmp_path, monkeypatch):
    saves, real = [], tf.train.CheckpointManager.save

    def fill_up(manager: tf.train.CheckpointManager, **given) -> str:
        saves.append(manager)
        if len(saves) != 3:
            return real(manager, **given)
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, unlimited[1]))
        try:
            real(manager, **given)
        except tf.errors.OpError as error:  # its words are those of a limit, not of a full disk
            raise tf.errors.ResourceExhaustedError(
                None, None, f"{error.message}; No space left on device"
            ) from error
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", fill_up)
    with pytest.raises(InputError, match=r"out: no space left"):
        finetune_upstream(**hard_to_repeat, out=tmp_path / "out")
    result = finetune_upstream(**hard_to_repeat, out=tmp_path / "out")

    assert len(saves) == 3 + 2
    assert_same_run(tmp_path / "out", whole[1])
    assert result.counts == whole[0].counts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[table["split"] != "val"], "anger, neutral, sadness"),
        (
            lambda table: table[~((table["split"] == "val") & (table["emotion"] != "neutral"))],
            "anger, sadness",
        ),
        (
            lambda table: table.assign(
                duration_seconds=table["duration_seconds"].where(table["split"] != "val", 0.02)
            ),
            r"split val .* 0\.025 s \(12; first: 03-01-",
        ),
    ],
)
def test_clips_that_do_not_do_are_named_before_training(
    change, message, tone_manifest, tone_corpus, tmp_path
):
    write_manifest(change(read_manifest(tone_manifest)), tmp_path / "manifest.csv")

    with pytest.raises(InputError, match=rf"manifest\.csv: .*{message}"):
        finetune_upstream(
            manifest=tmp_path / "manifest.csv",
            upstream="none/at-all",
            out=tmp_path / "out",
            audio_dir=tone_corpus,
            config=CONFIG,
        )


def test_loss_that_is_not_finite_names_the_clips(
    small_upstream, tone_manifest, tmp_path, monkeypatch
):
    seen = []

    def train(tuner: Tuner, inputs, labels, random) -> float:
        seen.append(labels)
        return np.nan if len(seen) == 2 else 1.0

    monkeypatch.setattr(Tuner, "train", train)
    with pytest.raises(InputError, match=r"learning_rate: .* nan in epoch 1 at 0\.005") as error:
        finetune_upstream(
            manifest=tone_manifest,
            upstream=str(small_upstream),
            out=tmp_path / "out",
            config=FROZEN,
        )
    assert not (tmp_path / "out").exists()
    ids = str(error.value).split("batch of ")[1].split(";")[0].split(", ")
    table = read_manifest(tone_manifest).set_index("utterance_id")
    emotions = ("anger", "neutral", "sadness")
    assert [emotions.index(table.loc[name, "emotion"]) for name in ids] == list(seen[1])
