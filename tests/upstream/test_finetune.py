import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from ser_nsl.config import UpstreamConfig
from ser_nsl.corpora.manifest import read_manifest, write_manifest
from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream
from ser_nsl.upstream.finetune import finetune_upstream

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


def weights_of(folder) -> dict[str, np.ndarray]:
    model, _ = load_upstream(str(folder))
    return {v.name.partition("/")[2]: v.numpy() for v in model.weights}


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
    for name, value in weights.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
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
    checkpoint = shutil.copytree(small_upstream, tmp_path / "checkpoint")
    config = json.loads((checkpoint / "config.json").read_text())
    # Pre-trained checkpoints mask and drop; a dropped layer would keep its weights.
    masking = {"apply_spec_augment": True, "mask_time_prob": 0.2, "mask_time_length": 2}
    (checkpoint / "config.json").write_text(json.dumps(config | masking | {"layerdrop": 1.0}))
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


def test_runaway_loss_leaves_no_checkpoint(small_upstream, tone_manifest, tmp_path):
    with pytest.raises(InputError, match=r"learning_rate: the loss is nan in epoch \d at 1e\+30"):
        finetune_upstream(
            manifest=tone_manifest,
            upstream=str(small_upstream),
            out=tmp_path / "out",
            config=replace(CONFIG, learning_rate=1e30, freeze_feature_encoder=True),
        )
    assert list(tmp_path.iterdir()) == []
