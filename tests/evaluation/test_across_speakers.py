import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ser_nsl.evaluation.across_speakers import standardised_by_speaker, uar_across_speakers


@pytest.fixture
def clips() -> pd.DataFrame:
    """Five speakers, three emotions, four takes."""
    rows = [
        (f"{speaker}-{emotion}-{take}", speaker, emotion)
        for speaker in "abcde"
        for emotion in ("fear", "joy", "rage")
        for take in range(4)
    ]
    return pd.DataFrame(rows, columns=["utterance_id", "speaker", "emotion"])


@pytest.fixture
def embeddings(clips) -> np.ndarray:
    """Of each emotion a direction, in much noise."""
    random = np.random.default_rng(0)
    centres = clips["emotion"].map({"fear": 0, "joy": 1, "rage": 2}).to_numpy()
    return np.eye(3)[centres] @ random.normal(size=(3, 8)) + random.normal(size=(len(clips), 8))


def test_one_speaker_after_another_is_left_out(embeddings, clips):
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2_000))
    predicted = cross_val_predict(
        classifier, embeddings, clips["emotion"], groups=clips["speaker"], cv=LeaveOneGroupOut()
    )

    found = uar_across_speakers(embeddings, clips, tested={"same": embeddings})

    assert found == {"same": pytest.approx(balanced_accuracy_score(clips["emotion"], predicted))}
    assert 0.4 < found["same"] < 1


def test_a_share_of_the_labels_is_drawn_by_the_seed(embeddings, clips):
    def uar(**draw):
        return uar_across_speakers(embeddings, clips, tested={"same": embeddings}, **draw)["same"]

    draws = [uar(label_share=0.25, seed=seed) for seed in range(3)]

    assert uar(label_share=0.25, seed=1) == draws[1]
    assert len(set(draws)) > 1
    assert max(draws) < uar()


def test_labels_of_the_tested_speaker_do_not_matter(embeddings, clips):
    """A column that tells the emotion of one speaker only helps nobody."""
    own = (clips["speaker"] == "c").to_numpy()
    tells = np.where(own, clips["emotion"].map({"fear": 0, "joy": 50, "rage": 99}), 0)
    told = np.column_stack([np.zeros(len(clips)), tells])

    found = uar_across_speakers(told, clips, tested={"told": told})

    assert found["told"] <= 0.5


def test_speakers_who_show_one_emotion_each_leave_one_to_learn_from(clips):
    two = clips[clips["speaker"].isin(["a", "b"])]
    two = two[(two["speaker"] == "a") == (two["emotion"] == "joy")].reset_index(drop=True)
    vectors = np.random.default_rng(0).normal(size=(len(two), 3))

    assert uar_across_speakers(vectors, two, tested={"same": vectors})["same"] < 0.5


def test_standardised_by_speaker(embeddings, clips):
    embeddings[clips["speaker"] == "a", 0] = 7.0
    found = standardised_by_speaker(embeddings, clips)

    for speaker in "abcde":
        rows = (clips["speaker"] == speaker).to_numpy()
        expected = StandardScaler().fit_transform(embeddings[rows])
        np.testing.assert_allclose(found[rows], expected)
    assert not found[clips["speaker"] == "a", 0].any()
