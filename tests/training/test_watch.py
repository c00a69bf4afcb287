from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from ser_nsl.training.watch import Curves, ProgressBar


def test_curves_have_the_names_of_the_history(tmp_path):
    curves = Curves(tmp_path, ("anger", "joy"))
    curves.write(1, {"loss": 3.0, "val_uar": 0.75}, np.array([[8.0, 0.0], [1.0, 2.0]]))
    curves.write(2, {"loss": 2.0}, None)
    curves.close()

    (path,) = tmp_path.iterdir()
    found = {}
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            found[value.tag, event.step] = tf.make_ndarray(value.tensor)

    table = found.pop(("confusion in validation", 1)).item().decode()
    rows = [line.replace(" ", "") for line in table.splitlines()]
    assert rows[0] == "||anger|joy|"
    assert rows[2:] == ["|anger|8|0|", "|joy|1|2|"]
    assert found == {("loss", 1): 3.0, ("val_uar", 1): 0.75, ("loss", 2): 2.0}


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
