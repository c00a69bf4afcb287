import numpy as np
import pytest
from scipy.optimize import minimize

from ser_nsl.audio.records import read_embeddings, read_upstream
from ser_nsl.corpora.labels import known_labels
from ser_nsl.embeddings.probe import probe_embeddings
from ser_nsl.errors import InputError

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

    assert result.counts == {"clips": CLIPS, "labels": 18, "emotions": 3}
    assert right_neighbors(embeddings, clips[1]) < 0.8
    assert right_neighbors(out, clips[1]) > 0.9
    assert read_upstream(out, "train") == "0123:fc1-probe"


def test_probabilities_are_those_of_the_regression(clips, embeddings, manifest, tmp_path):
    out = tmp_path / "probed"
    probe_embeddings(embeddings=embeddings, manifest=manifest(), out=out)
    found = np.stack([*read_embeddings(out, ["train"]).values()])
    ids = [int(name) for name in read_embeddings(out, ["train"])]

    vectors, labels = clips
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[ids].astype(np.float64)

    def probabilities(flat):
        logits = unit @ flat[:30].reshape(10, 3) + flat[30:]
        exps = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exps / exps.sum(axis=1, keepdims=True)

    def objective(flat):  # classes are balanced here
        cross_entropy = -np.log(probabilities(flat)[np.arange(CLIPS), labels[ids]]).sum()
        return 10 * cross_entropy + (flat[:30] ** 2).sum() / 2

    fitted = minimize(objective, np.zeros(33), options={"maxiter": 2_000}).x
    np.testing.assert_allclose(found, probabilities(fitted), atol=0.01)


def test_hidden_labels_change_nothing(clips, embeddings, manifest, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    probe_embeddings(embeddings=embeddings, manifest=manifest(), out=one, label_share=0.5)
    known = known_labels([f"{i:02}" for i in range(CLIPS)], clips[1], 0.5, seed=0)
    probe_embeddings(embeddings=embeddings, manifest=manifest(known), out=other)

    found = read_embeddings(other, ["train"])
    for name, vector in read_embeddings(one, ["train"]).items():
        np.testing.assert_allclose(found[name], vector, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "arguments", "message"),
    [
        (np.zeros(CLIPS, int), {}, "manifest: .*two emotions"),
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
