"""The stage that chooses among trained networks, by validation clips alone."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import require_record
from ser_nsl.pipeline.stage import stage


@stage(inputs=("models",), makes="folder")
def choose_model(*, models: tuple[Path, ...], out: Path) -> Mapping[str, Any]:
    """Copies the network with the highest UAR on the validation clips.

    Args:
        models: Folders of trained networks. The first one is taken where several are as good, and
            where training had no validation clips.
        out: Folder for the copy.

    Returns:
        Name of the folder that was copied, and its UAR on the validation clips.

    Raises:
        InputError: If no model is given, or one was not made by `train_downstream`.

    Example:
        >>> from ser_nsl.training import TrainingConfig, train_downstream
        >>> for epochs in (1, 2):
        ...     trained = train_downstream(features=Path("features"), model="cnn6", method="base",
        ...         training=TrainingConfig(epochs=epochs), out=Path(f"trained{epochs}"))
        >>> made = choose_model(models=(Path("trained1"), Path("trained2")), out=Path("chosen"))
        >>> made.counts["model"] in ("trained1", "trained2")
        True
    """
    if not models:
        raise InputError("models: must name one model or more; received none.")
    scores = [_validation_uar(model) for model in models]
    best, uar = max(zip(models, scores, strict=True), key=lambda pair: pair[1] or 0.0)
    ignored = shutil.ignore_patterns("*stage.json", "logs")
    shutil.copytree(best, out, dirs_exist_ok=True, ignore=ignored)
    return {"model": best.name} | ({} if uar is None else {"val_uar": f"{uar:.1%}"})


def _validation_uar(model: Path) -> float | None:
    """UAR of the kept epoch on the validation clips; None without any."""
    record = require_record(model)
    if record["stage"] != "train_downstream":
        raise InputError(
            f"models: {model} was made by {record['stage']}, and must be a trained network; give a "
            "result of ser-nsl train-downstream."
        )
    kept = record["counts"]["kept_epoch"]
    try:
        history = json.loads((model / "history.json").read_text())
        return history[kept - 1].get("val_uar")
    except (OSError, ValueError, IndexError, AttributeError) as error:
        raise InputError(
            f"{model}: history.json is not that of a training ({error}); train it again."
        ) from error
