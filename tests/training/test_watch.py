from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from ser_nsl.training.watch import ConfusionPicture, Curves, ProgressBar


def test_curves_keep_the_losses_apart(tmp_path):
    curves = Curves(tmp_path, ("anger", "joy"))
    measured = {"loss": 3.0, "scaled_graph_loss": 1.0, "uar": 0.5, "learning_rate": 0.25}
    curves.write(1, measured | {"val_loss": 4.0, "val_uar": 0.75}, np.eye(2))
    curves.write(2, {"loss": 2.0, "uar": 0.5, "learning_rate": 0.125}, None)
    curves.close()

    (path,) = tmp_path.iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            found[value.tag, event.step] = tf.make_ndarray(value.tensor)

    assert found.pop(("confusion in validation", 1))[2].startswith(b"\x89PNG")
    assert found == {
        ("loss/labels", 1): 2.0,
        ("loss/graph", 1): 1.0,
        ("loss/validation", 1): 4.0,
        ("uar/training", 1): 0.5,
        ("uar/validation", 1): 0.75,
        ("learning_rate", 1): 0.25,
        ("loss/labels", 2): 2.0,
        ("uar/training", 2): 0.5,
        ("learning_rate", 2): 0.125,
    }


def test_picture_is_darker_where_more_clips_are():
    picture = ConfusionPicture(("anger", "joy"))
    picture.draw(np.array([[0.0, 9.0], [9.0, 0.0]]))  # leaves no trace

    pixels = picture.draw(np.array([[8.0, 0.0], [1.0, 1.0]]))

    assert pixels.shape == (500, 500, 4)
    # Corners of the four cells, where no text is.
    cells = pixels[[[40, 40], [380, 380]], [[130, 480], [130, 480]], :3].sum(axis=-1)
    assert cells[0, 0] < cells[1, 0] == cells[1, 1] < cells[0, 1]


def test_bar_goes_on_and_shows_short_names(capsys):
    bar = ProgressBar(epochs=3, steps=2, done=1)
    bar.set_model(SimpleNamespace(distribute_strategy=tf.distribute.get_strategy()))
    logs = {"loss": 1.5, "scaled_graph_loss": 0.25, "uar": 0.5}
    bar.on_epoch_begin(1)
    bar.on_train_batch_end(0, logs)
    bar.on_train_batch_end(1, logs)
    bar.on_epoch_end(1, logs | {"val_loss": 2.0, "val_uar": 0.75})
    bar.close()

    line = capsys.readouterr().err.split("\r")[-1]
    assert "4/6" in line
    assert "epoch=2/3, loss=1.500, graph=0.250, uar=0.500, val_uar=0.750" in line
