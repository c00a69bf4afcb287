import json
from pathlib import Path

import pytest

from ser_nsl.errors import InputError
from ser_nsl.training import choose_model


@pytest.fixture
def model(tmp_path):
    """Returns a function that writes a model of so many epochs, and which of them was kept."""

    def write(name: str, *uar: float | None, kept: int) -> Path:
        folder = tmp_path / name
        (folder / "logs").mkdir(parents=True)
        (folder / "model.h5").write_text(name)
        history = [{"loss": 1.0} | ({} if u is None else {"val_uar": u}) for u in uar]
        (folder / "history.json").write_text(json.dumps(history))
        record = {"stage": "train_downstream", "counts": {"kept_epoch": kept}, "seconds": 1.0}
        record |= {name: {} for name in ("settings", "inputs", "paths", "versions")}
        (folder / "stage.json").write_text(json.dumps(record))
        return folder

    return write


def test_kept_epoch_decides(model, tmp_path):
    models = (model("a", 0.5, 0.9, kept=1), model("b", 0.6, 0.2, kept=1), model("c", 0.6, kept=1))

    made = choose_model(models=models, out=tmp_path / "chosen")

    assert made.counts == {"model": "b", "val_uar": "60.0%"}
    assert (tmp_path / "chosen" / "model.h5").read_text() == "b"
    assert not (tmp_path / "chosen" / "logs").exists()


def test_without_validation_the_first_is_taken(model, tmp_path):
    models = (model("a", None, kept=1), model("b", None, kept=1))

    assert choose_model(models=models, out=tmp_path / "chosen").counts == {"model": "a"}


def test_what_is_no_model_is_refused(model, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: the record"):
        choose_model(models=(tmp_path / "empty",), out=tmp_path / "chosen")
    damaged = model("a", 0.5, kept=2)
    with pytest.raises(InputError, match="a: history"):
        choose_model(models=(damaged,), out=tmp_path / "chosen")
    record = damaged / "stage.json"
    record.write_text(record.read_text().replace("train_downstream", "teach_network"))
    with pytest.raises(InputError, match="models: .*a was made by teach_network"):
        choose_model(models=(damaged,), out=tmp_path / "chosen")
    with pytest.raises(InputError, match="models: must name"):
        choose_model(models=(), out=tmp_path / "chosen")
