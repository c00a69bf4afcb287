"""The stage that scores a model on the clips of a split."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.evaluation.scores import score, z_test
from ser_nsl.networks.saved import check_description, load_model
from ser_nsl.pipeline.stage import stage
from ser_nsl.training.data import labelled_clips

__all__ = ["evaluate", "read_metrics"]


@stage(inputs=("model_dir", "records", "embeddings", "compare_with"), makes="file")
def evaluate(
    *,
    model_dir: Path,
    records: Path,
    out: Path,
    split: Literal["train", "val", "test"] = "test",
    embeddings: Path | None = None,
    compare_with: Path | None = None,
    batch_size: int = 32,
) -> Mapping[str, Any]:
    """Scores a model on every clip of a split, once.

    Args:
        model_dir: Folder of a trained model.
        records: Log Mel records.
        out: Result file (JSON): UAR, accuracy, recall by class, confusion matrix, and the
            predicted class of each clip.
        split: Which clips.
        embeddings: Embeddings of these clips, for the methods add, max and avg.
        compare_with: Result file of another system on the same clips; adds the one-tailed
            z-test that this model is better.
        batch_size: Clips a step; changes nothing but speed.

    Returns:
        UAR, accuracy, p of the test on UAR, and number of clips.

    Raises:
        InputError: If the model folder is incomplete, the records were made for another one,
            the model needs embeddings or takes none, or `compare_with` scored other clips.
    """
    other = read_metrics(compare_with) if compare_with else None
    model, description = load_model(model_dir)
    if ("embedding" in model.input_names) != (embeddings is not None):
        raise InputError(
            "embeddings: a model of the methods add, max and avg, and no other, needs them; "
            f"{model_dir} takes {', '.join(model.input_names)}."
        )
    clips = labelled_clips(
        records, (split,), check_description(description, records), embeddings=embeddings
    )
    unshared = sorted(other["predictions"].keys() ^ clips.labels.keys()) if other else []
    if unshared:
        raise InputError(
            f"{compare_with}: scored other clips than {records} ({split}) holds; {len(unshared)} "
            f"are in one of them only (first: {', '.join(unshared[:3])}). Score both alike."
        )
    labels = np.array(list(clips.labels.values()))
    logits = model.predict(clips.dataset.batch(batch_size).map(lambda x, _: x), verbose=0)
    predicted = logits.argmax(axis=1)
    result = score(labels, predicted, description.classes)
    names = (description.classes[i] for i in predicted)
    result["predictions"] = dict(zip(clips.labels, names, strict=True))
    if other is not None:
        result["p_better"] = z_test(result, other)
    out.write_text(json.dumps(result, indent=1) + "\n")
    shown = {"uar": f"{result['uar']:.1%}", "accuracy": f"{result['accuracy']:.1%}"}
    if other is not None:
        p = result["p_better"]["uar"]
        shown["p"] = f"{p:.3f}" if p >= 0.0005 else "< 0.001"
    return {**shown, "clips": result["clips"]}


def read_metrics(path: Path) -> dict[str, Any]:
    """Reads the result file of an evaluation.

    Args:
        path: Made by `evaluate`.

    Returns:
        What `score` gives, and `predictions` by id.

    Raises:
        InputError: If it is missing or has another form.
    """
    try:
        values = json.loads(Path(path).read_text())
        _ = values["uar"], values["accuracy"], values["clips"], values["predictions"].keys()
        return values
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path}: is not a result file of tools/evaluate.py ({type(error).__name__}: {error})."
        ) from error
