"""Scores of made-up systems on seven speakers, few enough to count on paper."""

import json
from pathlib import Path

import pandas as pd
import pytest

from ser_nsl.corpora.manifest import COLUMNS, write_manifest
from ser_nsl.errors import InputError
from ser_nsl.evaluation.scores import score
from ser_nsl.reports.trust import gather_trust

CLASSES = ["anger", "joy"]
SPEAKERS = [f"s{i}" for i in range(7)]
CLIPS = {f"{s}{e}{i}": (s, e) for s in SPEAKERS for e in CLASSES for i in range(2)}
BASE = {"network": "cnn6", "method": "base", "seeds": [0]}
NSL = {"network": "cnn6", "method": "nsl", "seeds": [0]}


def predictions(wrong: int, of: str = "joy") -> dict[str, str]:
    """Everything right but one emotion of the last speakers."""
    lost = SPEAKERS[len(SPEAKERS) - wrong :]
    other = {"joy": "anger", "anger": "joy"}[of]
    return {n: other if s in lost and e == of else e for n, (s, e) in CLIPS.items()}


def write(path: Path, content) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_result(path: Path, predicted: dict[str, str], **others) -> None:
    truth = pd.Series([CLIPS[name][1] for name in predicted]).map(CLASSES.index).to_numpy()
    found = pd.Series([*predicted.values()]).map(CLASSES.index).to_numpy()
    write(path, score(truth, found, CLASSES) | {"predictions": predicted} | others)


def write_network(run: Path, label: str, wrong: int, train_uar: float = 0.9) -> None:
    write_result(run / "results" / f"{label}.json", predictions(wrong))
    write(run / "models" / label / "stage.json", {"counts": {"kept_epoch": 2}})
    history = [{"uar": 0.1, "val_uar": 0.1}, {"uar": train_uar, "val_uar": 0.6}]
    write(run / "models" / label / "history.json", history)


@pytest.fixture
def run(tmp_path) -> Path:
    rows = [
        dict.fromkeys(COLUMNS, "x")
        | {"utterance_id": name, "speaker": speaker, "emotion": emotion, "split": split}
        | {"duration_seconds": 1.0}
        for name, (speaker, emotion), split in (
            *((name, own, "test") for name, own in CLIPS.items()),
            *((f"t{e}", ("anna", e), "train") for e in CLASSES),
        )
    ]
    (tmp_path / "target").mkdir()
    write_manifest(pd.DataFrame(rows), tmp_path / "target" / "manifest.csv")
    for kind, wrong in (("mfcc", 5), ("upstream", 7), ("both", 7)):
        path = tmp_path / "results" / f"baseline-{kind}.json"
        write_result(path, predictions(wrong), train_uar=0.8, val_uar=0.7 - wrong / 100)
    return tmp_path


def test_speakers_intervals_and_tests(run):
    write_network(run, "cnn6-base-seed0", wrong=7)
    write_network(run, "cnn6-nsl-seed0", wrong=0)

    trust = gather_trust(run, [BASE, NSL])

    base, nsl, mfcc, _, _ = trust["systems"]
    assert (base["uar"], base["train_uar"], base["val_uar"]) == (0.5, 0.9, 0.6)
    assert base["speakers"] == dict.fromkeys(SPEAKERS, 0.5)
    assert (base["interval"], nsl["interval"]) == ((0.5, 0.5), (1.0, 1.0))
    assert mfcc["speakers"] == dict.fromkeys(SPEAKERS[:2], 1.0) | dict.fromkeys(SPEAKERS[2:], 0.5)
    against_base, base_against_mfcc, nsl_against_mfcc = trust["tests"]
    assert against_base["gain"] == 0.5
    # 14 clips, all for nsl; 4, all for MFCCs; 10, all for nsl: times 3, 1 and 2.
    assert against_base["p_clips"] == pytest.approx([3 * 2**-13] * 2)
    assert base_against_mfcc["p_clips"] == pytest.approx([2**-3] * 2)
    assert nsl_against_mfcc["p_clips"] == pytest.approx([2 * 2**-9] * 2)
    # All of 7 speakers one way, twice; of 5 and 2 others equal.
    assert against_base["p_speakers"] == pytest.approx(3 * 2 / 2**7)
    assert trust["floors"] == {"clips": 2**-27, "speakers": 2 / 2**7}


@pytest.mark.parametrize(
    ("wrong", "train_uar", "said"),
    [
        (7, 0.5, ["barely above chance", "below the baseline: a linear classifier on MFCC"]),
        (3, 0.99, ["is overfitted: 99.0% UAR"]),
        (1, 0.95, []),
    ],
)
def test_warnings(wrong, train_uar, said, run):
    write_network(run, "cnn6-base-seed0", wrong, train_uar)

    warnings = gather_trust(run, [BASE])["warnings"]

    assert len(warnings) == len(said)
    for sentence, part in zip(warnings, said, strict=True):
        assert sentence.startswith("cnn6 base") and part in sentence


def test_each_seed_is_compared(run):
    for seed, wrong in ((0, 7), (1, 1)):
        write_network(run, f"cnn6-base-seed{seed}", wrong)

    trust = gather_trust(run, [BASE | {"seeds": [0, 1]}])

    assert trust["systems"][0]["speakers"]["s6"] == 0.5
    assert trust["systems"][0]["speakers"]["s0"] == 0.75
    (test,) = trust["tests"]
    assert test["p_clips"] == pytest.approx([2 * 2**-7, 2**-3])


def test_run_without_baseline_is_not_finished(run):
    write_network(run, "cnn6-base-seed0", wrong=1)
    (run / "results" / "baseline-mfcc.json").unlink()

    with pytest.raises(InputError, match=r"baseline-mfcc\.json"):
        gather_trust(run, [BASE])
