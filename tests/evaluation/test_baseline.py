import numpy as np
import pandas as pd
import pytest

from ser_nsl.audio.examples import embedding_example
from ser_nsl.audio.records import read_embeddings
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.corpora.labels import known_labels
from ser_nsl.corpora.manifest import COLUMNS, read_manifest, write_manifest
from ser_nsl.errors import InputError
from ser_nsl.evaluation import evaluate_baseline, read_metrics
from ser_nsl.evaluation.linear import linear_classifier

CLIPS = {"train": 60, "val": 30, "test": 30}


@pytest.fixture
def corpus(tmp_path):
    """Returns a function that writes embeddings, whose first two numbers are of the emotion."""

    def write(
        *,
        splits=("train", "val", "test"),
        told: float = 6.0,
        emotions=("fear", "joy", ""),
        validating: tuple[str, ...] = (),
    ):
        random = np.random.default_rng(0)
        rows = []
        for split in splits:
            with ShardWriter(tmp_path / "embeddings", split, 2) as writer:
                for i in range(CLIPS[split]):
                    own = validating if split == "val" and validating else emotions
                    name, emotion = f"{split}{i:02}", own[i % len(own)]
                    vector = random.normal(size=20).astype(np.float32)
                    vector[:2] += told * np.array([emotion == "joy", emotion == "anger"])
                    writer.write(embedding_example(name, vector, "mfcc"))
                    rows.append({"utterance_id": name, "emotion": emotion, "split": split})
        for emotion in {*validating} - {*emotions}:  # a manifest has all in training
            rows.append({"utterance_id": "elsewhere", "emotion": emotion, "split": "train"})
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


def test_validation_clips_may_train(corpus):
    """Only they have anger; what they choose, they choose before."""
    arguments = corpus(validating=("fear", "joy", "anger"))
    alone = evaluate_baseline(**arguments)
    before = read_metrics(arguments["out"])
    joined = evaluate_baseline(**arguments, splits=("train", "val"))
    scores = read_metrics(arguments["out"])

    assert "val_uar" in alone.counts
    assert (before["classes"], scores["classes"]) == (["fear", "joy"], ["anger", "fear", "joy"])
    assert "val_uar" not in joined.counts
    assert scores["val_uar"] is None
    assert scores["train_uar"] > 0.8
    assert scores["inverse_regularisation"] == before["inverse_regularisation"]
    with pytest.raises(InputError, match="splits: .*test"):
        evaluate_baseline(**arguments, splits=("train", "test"))


def test_a_share_of_the_labels_is_of_all_clips_that_train(corpus):
    arguments = corpus(told=1.0)
    evaluate_baseline(**arguments, splits=("train", "val"), label_share=0.2, seed=1)
    scores = read_metrics(arguments["out"])

    emotion_of = read_manifest(arguments["manifest"]).set_index("utterance_id")["emotion"]
    vectors = read_embeddings(arguments["embeddings"], ["train", "val"])
    ids = [each for each in vectors if emotion_of[each]]
    true = np.array([["fear", "joy"].index(emotion_of[each]) for each in ids])
    known = known_labels(ids, true, 0.2, seed=1)
    used = [each for each, label in zip(ids, known, strict=True) if label >= 0]
    assert {each[:3] for each in used} == {"tra", "val"}
    classifier = linear_classifier(scores["inverse_regularisation"])
    classifier.fit([vectors[each].astype(float) for each in used], known[known >= 0])
    tested = read_embeddings(arguments["embeddings"], ["test"])
    assert scores["predictions"] == {
        each: ["fear", "joy"][classifier.predict([tested[each].astype(float)])[0]]
        for each in tested
        if emotion_of[each]
    }


def test_where_validation_clips_train_alone(corpus):
    arguments = corpus()
    evaluate_baseline(**arguments, splits=("val",))

    assert read_metrics(arguments["out"])["inverse_regularisation"] == 0.01


def test_one_emotion_is_refused(corpus):
    with pytest.raises(InputError, match="at least two emotions"):
        evaluate_baseline(**corpus(emotions=("joy",)))
    with pytest.raises(InputError, match="at least two emotions .* of train have"):
        evaluate_baseline(
            **corpus(emotions=("joy",), validating=("joy", "fear")), splits=("train", "val")
        )
