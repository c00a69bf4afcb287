import json
import logging
from dataclasses import replace
from math import sqrt

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from ser_nsl.audio.examples import UNLABELLED, embedding_example, feature_example
from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import ShardWriter
from ser_nsl.errors import InputError
from ser_nsl.evaluation.model import evaluate, read_metrics
from ser_nsl.evaluation.scores import score, z_test
from ser_nsl.networks.blocks import classify, logmel_input
from ser_nsl.networks.saved import save_model
from ser_nsl.training.transfer import with_embedding

CLASSES = ("anger", "joy", "sorrow")
FRONT_END = FrontEndConfig(mel_bins=4)
DESCRIPTION = Description(FRONT_END, 512 + 256, CLASSES, (-40.0,) * 4, (10.0,) * 4)
LABELS = {f"clip{i:02}": i % 3 for i in range(11)}


@pytest.fixture(scope="module")
def logmel() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {key: random.normal(-40, 10, (2, 4)).astype(np.float32) for key in LABELS}


@pytest.fixture
def records(logmel, tmp_path):
    """Eleven clips of a test split, and one without a label."""
    folder = tmp_path / "features"
    folder.mkdir()
    DESCRIPTION.save(folder)
    with ShardWriter(folder, "test", 3) as writer:
        writer.write(feature_example("unlabelled", np.zeros((2, 4), np.float32), UNLABELLED))
        for utterance_id, label in LABELS.items():
            writer.write(feature_example(utterance_id, logmel[utterance_id], label))
    return folder


@pytest.fixture(scope="module")
def network() -> tf.keras.Model:
    tf.keras.utils.set_random_seed(0)
    logmel, x = logmel_input(DESCRIPTION)
    return classify(logmel, x, DESCRIPTION, "flat")


@pytest.fixture
def model_dir(network, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(network, DESCRIPTION, folder)
    return folder


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")  # scikit-learn's
@pytest.mark.parametrize("absent", [[], [1]])
def test_score_is_that_of_scikit_learn(absent):
    random = np.random.default_rng(0)
    labels = random.choice(np.setdiff1d(range(3), absent), 50)
    predicted = np.where(random.random(50) < 0.6, labels, random.choice(3, 50))

    found = score(labels, predicted, CLASSES)

    assert found["clips"] == 50
    assert found["uar"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found["accuracy"] == (labels == predicted).mean()
    assert found["confusion_matrix"] == confusion_matrix(labels, predicted).tolist()
    for i, name in enumerate(CLASSES):
        hits = predicted[labels == i] == i
        assert found["recall"][name] == (None if i in absent else pytest.approx(hits.mean()))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_score_by_hand():
    found = score(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 2, 1, 0]), CLASSES)

    assert found["uar"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["recall"] == {"anger": 0.75, "joy": 0.5, "sorrow": None}
    assert found["confusion_matrix"] == [[3, 0, 1], [1, 1, 0], [0, 0, 0]]


def test_z_test_by_its_formula():
    # VGG-15 with the graph against without, test split of DEMoS (arXiv 2210.14977, table 3).
    ours = {"accuracy": 0.86, "uar": 0.786, "clips": 2326}
    theirs = {"accuracy": 0.84, "uar": 0.772, "clips": 2326}

    found = z_test(ours, theirs)

    for name in ("accuracy", "uar"):
        pooled = (ours[name] + theirs[name]) / 2
        z = (ours[name] - theirs[name]) / sqrt(pooled * (1 - pooled) * 2 / 2326)
        assert found[name] == pytest.approx(norm.sf(z))
    assert found["accuracy"] < 0.05 < found["uar"] < 0.5
    assert z_test(theirs, ours)["accuracy"] == pytest.approx(1 - found["accuracy"])


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_equally_perfect_systems_are_equal(share):
    scores = {"accuracy": share, "uar": share, "clips": 20}

    assert z_test(scores, scores) == {"accuracy": 0.5, "uar": 0.5}


@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_clip_is_scored_once(batch_size, model_dir, records, network, logmel, tmp_path):
    out = tmp_path / "result.json"

    result = evaluate(model_dir=model_dir, records=records, out=out, batch_size=batch_size)

    logits = {key: network(logmel[key][np.newaxis])[0].numpy() for key in LABELS}
    predicted = {key: int(values.argmax()) for key, values in logits.items()}
    found = read_metrics(out)
    assert found.pop("predictions") == {key: CLASSES[i] for key, i in predicted.items()}
    assert len(set(predicted.values())) > 1
    expected = score(np.array(list(LABELS.values())), np.array(list(predicted.values())), CLASSES)
    assert found == expected
    assert result.counts == {
        "uar": f"{expected['uar']:.1%}",
        "accuracy": f"{expected['accuracy']:.1%}",
        "clips": 11,
    }


def test_embeddings_are_joined(network, records, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    save_model(with_embedding(network, "add"), DESCRIPTION, folder)
    embeddings = tmp_path / "embeddings"
    embeddings.mkdir()
    kernel, _ = network.get_layer("fc2").get_weights()
    with ShardWriter(embeddings, "test", 1) as writer:
        for utterance_id, label in reversed(LABELS.items()):
            # So long and so directed that it outvotes the features.
            vector = 1000 * kernel[:, label] - 500 * kernel.sum(axis=1)
            writer.write(embedding_example(utterance_id, vector))

    out = tmp_path / "result.json"
    evaluate(model_dir=folder, records=records, out=out, embeddings=embeddings)

    assert read_metrics(out)["uar"] == 1
    with pytest.raises(InputError, match="needs them; .* takes logmel, embedding"):
        evaluate(model_dir=folder, records=records, out=out)


def test_embeddings_of_another_width_are_refused(network, records, tmp_path):
    folder, embeddings = tmp_path / "model", tmp_path / "embeddings"
    save_model(with_embedding(network, "add"), DESCRIPTION, folder)
    embeddings.mkdir()
    with ShardWriter(embeddings, "test", 1) as writer:
        for utterance_id in LABELS:
            writer.write(embedding_example(utterance_id, np.ones(7)))

    with pytest.raises(InputError, match=r"embeddings: must have 256 numbers .*; received 7"):
        evaluate(
            model_dir=folder, records=records, out=tmp_path / "out.json", embeddings=embeddings
        )


def test_embeddings_that_the_model_does_not_take_are_refused(model_dir, records, tmp_path):
    with pytest.raises(InputError, match=r"no other, needs them; .* takes logmel\."):
        evaluate(
            model_dir=model_dir, records=records, out=tmp_path / "out.json", embeddings=records
        )


def test_compares_with_a_system_on_the_same_clips(model_dir, records, tmp_path):
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    evaluate(model_dir=model_dir, records=records, out=ours)
    worse = read_metrics(ours) | {"uar": 0.1, "accuracy": 0.1}
    theirs.write_text(json.dumps(worse))

    result = evaluate(model_dir=model_dir, records=records, out=ours, compare_with=theirs)

    found = read_metrics(ours)
    assert found["p_better"] == z_test(found, worse)
    assert found["p_better"]["uar"] < 0.5
    assert result.counts["p"] == f"{found['p_better']['uar']:.3f}"
    assert (found["p_mcnemar"], result.counts["p_mcnemar"]) == (1.0, "1.000")  # the same are right


def test_small_p_is_shown_as_a_bound(model_dir, records, tmp_path, monkeypatch):
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    evaluate(model_dir=model_dir, records=records, out=theirs)
    monkeypatch.setattr("ser_nsl.evaluation.model.z_test", lambda *_: {"uar": 4e-4})

    result = evaluate(model_dir=model_dir, records=records, out=ours, compare_with=theirs)

    assert "p < 0.001, p mcnemar 1.000, clips 11" in result.summary


def test_other_clips_cannot_be_compared(model_dir, records, tmp_path):
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    evaluate(model_dir=model_dir, records=records, out=ours)
    scores = read_metrics(ours)
    del scores["predictions"]["clip03"], scores["predictions"]["clip05"]
    scores["predictions"]["another"] = "joy"
    theirs.write_text(json.dumps(scores))

    with pytest.raises(InputError, match=r"theirs\.json: .* 3 .*another, clip03, clip05\)"):
        evaluate(model_dir=model_dir, records=records, out=ours, compare_with=theirs)


@pytest.mark.parametrize("text", [None, "", "[]", '{"uar": 1, "accuracy": 1, "clips": 1}', "\x00"])
def test_other_files_are_no_results(text, tmp_path):
    path = tmp_path / "result.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(InputError, match=r"result\.json: is not a result file"):
        read_metrics(path)


def test_records_of_another_front_end_are_refused(model_dir, records, tmp_path):
    replace(DESCRIPTION, front_end=FrontEndConfig(mel_bins=4, low_hz=50.0)).save(records)

    with pytest.raises(InputError, match="features: front_end"):
        evaluate(model_dir=model_dir, records=records, out=tmp_path / "result.json")


def test_split_without_records_is_refused(model_dir, records, tmp_path):
    with pytest.raises(InputError, match="no records of the split 'val'"):
        evaluate(model_dir=model_dir, records=records, out=tmp_path / "result.json", split="val")


@pytest.mark.parametrize(
    "change",
    [
        {"uar": "x"},
        {"uar": 1.2},
        {"accuracy": None},
        {"clips": 0},
        {"predictions": []},
    ],
)
def test_result_file_of_other_values_is_an_error(change, tmp_path):
    path = tmp_path / "theirs.json"
    values = {"uar": 0.5, "accuracy": 0.5, "clips": 2, "predictions": {"a": "joy", "b": "joy"}}
    path.write_text(json.dumps(values))
    assert read_metrics(path) == values
    path.write_text(json.dumps(values | change))

    with pytest.raises(InputError, match=r"theirs\.json: is not a result file"):
        read_metrics(path)


def test_many_models_are_scored_without_a_warning(model_dir, records, tmp_path):
    """TensorFlow warns of functions that are traced in most of their calls."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    try:
        for batch_size in (8, 8, 8, 8, 8, 8, 16):
            out = tmp_path / "metrics.json"
            evaluate(model_dir=model_dir, records=records, out=out, batch_size=batch_size)
    finally:
        tf.get_logger().removeHandler(handler)

    assert not said
