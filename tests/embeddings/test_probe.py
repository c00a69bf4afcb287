import numpy as np
import pytest

from ser_nsl.audio.records import read_embeddings, read_upstream
from ser_nsl.audio.shards import has_split
from ser_nsl.corpora.labels import known_labels
from ser_nsl.embeddings.probe import probe_embeddings, read_probabilities
from ser_nsl.errors import InputError
from ser_nsl.evaluation.linear import CHOICES, linear_classifier

EMOTIONS = ("anger", "joy", "sorrow")
CLIPS = 60


@pytest.fixture(scope="module")
def clips():
    """Two directions depend on the emotion, eight louder ones do not."""
    random = np.random.default_rng(0)
    labels = np.arange(CLIPS) % 3
    vectors = random.normal(size=(CLIPS, 10))
    vectors[:, :2] = 0.8 * np.array([(1, 0), (-0.5, 0.9), (-0.5, -0.9)])[labels]
    vectors[:, :2] += random.normal(0, 0.1, (CLIPS, 2))
    return vectors.astype(np.float32), labels


@pytest.fixture
def embeddings(clips, write_embeddings):
    names = (f"{i:02}" for i in range(CLIPS))
    return write_embeddings(dict(zip(names, clips[0], strict=True)), upstream="0123:fc1")


@pytest.fixture
def manifest(clips, make_manifest):
    """Returns a function that writes a manifest of these clips."""

    def write(labels=clips[1]):
        emotions = [EMOTIONS[label] if label >= 0 else "" for label in labels]
        return make_manifest({f"{i:02}": {"emotion": name} for i, name in enumerate(emotions)})

    return write


def right_neighbors(folder, labels) -> float:
    """Share of the nearest clips, by cosine, that have a clip's emotion."""
    vectors = read_embeddings(folder, ["train"])
    matrix = np.stack([vectors[f"{i:02}"] for i in range(CLIPS)])
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    similarity = matrix @ matrix.T
    np.fill_diagonal(similarity, -1)
    return (labels[similarity.argmax(axis=1)] == labels).mean()


def test_few_labels_make_neighbours_similar(clips, embeddings, manifest, tmp_path):
    out = tmp_path / "probed"
    result = probe_embeddings(embeddings=embeddings, manifest=manifest(), out=out, label_share=0.3)

    choice = result.counts.pop("inverse_regularisation")
    assert choice in CHOICES
    assert result.counts == {"clips": CLIPS, "labels": 18, "emotions": 3}
    assert right_neighbors(embeddings, clips[1]) < 0.8
    assert right_neighbors(out, clips[1]) > 0.9
    assert read_upstream(out, "train") == "0123:fc1-probe"


def test_clips_are_read_by_what_has_not_learned_from_their_speakers():
    """Each speaker's clips lie apart: who learned from them would read them rightly."""
    random = np.random.default_rng(0)
    speakers, labels = np.repeat([*"abcdef"], 10), np.tile([0, 1], 30)
    own = np.eye(6).repeat(10, axis=0) * np.where(labels, 1, -1)[:, np.newaxis]
    vectors = own + random.normal(0, 0.05, own.shape)
    hidden = np.where(speakers == "f", -1, labels)

    by_speaker, _ = read_probabilities(vectors, hidden, speakers)
    by_clip, _ = read_probabilities(vectors, hidden, np.full(60, ""))

    known = hidden >= 0
    right = [(each.argmax(axis=1) == labels)[known].mean() for each in (by_speaker, by_clip)]
    assert right[0] < 0.75 < right[1]
    np.testing.assert_allclose(by_speaker.sum(axis=1), 1, rtol=1e-5)


def test_clips_without_a_label_are_read_by_all_labels(clips):
    vectors, labels = clips
    hidden = np.where(np.arange(CLIPS) < 30, labels, -1)
    found, choice = read_probabilities(vectors.astype(float), hidden, np.tile([*"abcdef"], 10))

    regression = linear_classifier(choice).fit(vectors[:30].astype(float), labels[:30])
    expected = regression.predict_proba(vectors.astype(float))
    np.testing.assert_allclose(found[30:], expected[30:], atol=1e-4)
    assert np.abs(found[:30] - expected[:30]).max() > 0.01


@pytest.mark.parametrize("speakers", ["aaaaaa", "aaabbb", "abcdef", "      "])
def test_speakers_that_cannot_be_held_out_are_no_obstacle(speakers):
    """One speaker, speakers of one emotion each, of one clip each, and unknown ones."""
    names = np.array([name.strip() for name in speakers])
    vectors = np.array([[0.0], [0.1], [0.2], [1.0], [0.9], [0.8]])

    found, _ = read_probabilities(vectors, np.array([0, 0, 0, 1, 1, 1]), names)

    assert found.argmax(axis=1).tolist() == [0, 0, 0, 1, 1, 1]


def test_hidden_labels_change_nothing(clips, embeddings, manifest, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    probe_embeddings(embeddings=embeddings, manifest=manifest(), out=one, label_share=0.5)
    known = known_labels([f"{i:02}" for i in range(CLIPS)], clips[1], 0.5, seed=0)
    probe_embeddings(embeddings=embeddings, manifest=manifest(known), out=other)

    found = read_embeddings(other, ["train"])
    for name, vector in read_embeddings(one, ["train"]).items():
        np.testing.assert_allclose(found[name], vector, atol=1e-6)


def test_labels_of_validation_clips_are_known_where_they_train(
    clips, write_embeddings, make_manifest, tmp_path
):
    """Only they have sorrow, and a clip that is not embedded."""
    vectors, labels = clips
    split_of = {f"{i:02}": "val" if label == 2 else "train" for i, label in enumerate(labels)}
    for split in ("train", "val"):
        own = {each: vectors[int(each)] for each in split_of if split_of[each] == split}
        folder = write_embeddings(own, split=split)
    told = {
        each: {"emotion": EMOTIONS[labels[int(each)]], "split": split, "speaker": split}
        for each, split in split_of.items()
    }
    manifest = make_manifest(told | {"elsewhere": {"emotion": "sorrow", "speaker": "train"}})
    given = {"embeddings": folder, "manifest": manifest}

    alone = probe_embeddings(**given, out=tmp_path / "alone")
    joined = probe_embeddings(
        **given, out=tmp_path / "joined", splits=("train", "val"), label_share=0.3
    )

    assert (alone.counts["clips"], alone.counts["emotions"]) == (40, 2)
    assert not has_split(tmp_path / "alone", "val")
    counted = [joined.counts[name] for name in ("clips", "labels", "emotions")]
    assert counted == [60, 18, 3]
    found = {split: read_embeddings(tmp_path / "joined", [split]) for split in ("train", "val")}
    assert {each: split for split, own in found.items() for each in own} == split_of
    right = [
        vector.argmax() == labels[int(each)]
        for own in found.values()
        for each, vector in own.items()
    ]
    assert np.mean(right) > 0.9
    with pytest.raises(InputError, match="splits: .*test"):
        probe_embeddings(**given, out=tmp_path / "out", splits=("train", "test"))


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        (np.zeros(CLIPS, int), {}, "manifest: .*two emotions"),
        (np.where(np.arange(CLIPS) < 3, np.arange(CLIPS), -1), {}, "manifest: .*two of one"),
        (np.arange(50) % 3, {}, r"manifest: .*lacks clips .*\(10; first: 5\d, 5\d, 5\d\)"),
        (np.arange(CLIPS) % 3, {"label_share": 0.0}, "label_share: "),
    ],
)
def test_bad_input_is_refused(labels, arguments, message, embeddings, manifest, tmp_path):
    with pytest.raises(InputError, match=message):
        probe_embeddings(
            embeddings=embeddings, manifest=manifest(labels), out=tmp_path / "out", **arguments
        )
    assert not (tmp_path / "out").exists()
