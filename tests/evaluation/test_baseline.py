import numpy as np
import pandas as pd
import pytest

from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.corpora.manifest import COLUMNS, write_manifest
from ser_nsl.errors import InputError
from ser_nsl.evaluation import evaluate_baseline, read_metrics

CLIPS = {"train": 60, "val": 30, "test": 30}


@pytest.fixture
def corpus(tmp_path):
    """Returns a function that writes embeddings, whose first number is that of the emotion."""

    def write(*, splits=("train", "val", "test"), told: float = 6.0, emotions=("fear", "joy", "")):
        random = np.random.default_rng(0)
        rows = []
        for split in splits:
            with ShardWriter(tmp_path / "embeddings", split, 2) as writer:
                for i in range(CLIPS[split]):
                    name, emotion = f"{split}{i:02}", emotions[i % len(emotions)]
                    vector = random.normal(size=20).astype(np.float32)
                    vector[0] += told * (emotion == "joy")
                    writer.write(embedding_example(name, vector, "mfcc"))
                    rows.append({"utterance_id": name, "emotion": emotion, "split": split})
        (tmp_path / "embeddings").mkdir(exist_ok=True)
        table = pd.DataFrame(rows, columns=[*COLUMNS]).fillna("").assign(duration_seconds=1.0)
        write_manifest(table, tmp_path / "manifest.csv")
        return {
            "embeddings": tmp_path / "embeddings",
            "manifest": tmp_path / "manifest.csv",
            "out": tmp_path / "baseline.json",
        }

    (tmp_path / "embeddings").mkdir()
    return write


def test_scores_of_labelled_test_clips(corpus):
    arguments = corpus()
    made = evaluate_baseline(**arguments)

    scores = read_metrics(arguments["out"])
    assert made.counts["clips"] == scores["clips"] == len(scores["predictions"]) == 20
    assert scores["classes"] == ["fear", "joy"]
    assert scores["uar"] > 0.8 and scores["train_uar"] > 0.8 and scores["val_uar"] > 0.8
    truth = {f"test{i:02}": ("fear", "joy", "")[i % 3] for i in range(30)}
    right = [truth[name] == found for name, found in scores["predictions"].items()]
    assert scores["accuracy"] == np.mean(right)


def test_embeddings_that_tell_nothing_are_at_chance(corpus):
    arguments = corpus(told=0.0)
    evaluate_baseline(**arguments)

    assert read_metrics(arguments["out"])["uar"] < 0.75


def test_without_validation_clips(corpus):
    arguments = corpus(splits=("train", "test"))
    made = evaluate_baseline(**arguments)

    assert "val_uar" not in made.counts
    assert read_metrics(arguments["out"])["inverse_regularisation"] == 0.01


def test_share_of_the_labels(corpus):
    arguments = corpus()
    evaluate_baseline(**arguments)
    all_labels = arguments["out"].read_bytes()

    evaluate_baseline(**arguments, label_share=0.2, seed=1)

    assert arguments["out"].read_bytes() != all_labels
    with pytest.raises(InputError, match="label_share"):
        evaluate_baseline(**arguments, label_share=0.0)


def test_one_emotion_is_refused(corpus):
    with pytest.raises(InputError, match="at least two emotions"):
        evaluate_baseline(**corpus(emotions=("joy",)))
