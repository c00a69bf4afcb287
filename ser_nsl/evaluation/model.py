"""The stage that scores a model on the clips of a split."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_nsl.errors import InputError
from ser_nsl.evaluation.scores import score, z_test
from ser_nsl.evaluation.statistics import mcnemar_test
from ser_nsl.lazy import tf
from ser_nsl.networks.saved import check_description, load_model
from ser_nsl.pipeline.bars import Bar
from ser_nsl.pipeline.settings import check
from ser_nsl.pipeline.stage import stage

__all__ = ["evaluate", "read_metrics"]


@stage(
    inputs=("model_dir", "records", "embeddings", "compare_with"),
    makes="file",
    remote=("records", "embeddings"),
)
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
    """Scores a model on every clip of a split.

    Args:
        model_dir: Folder of a trained model.
        records: Folder with log Mel records.
        out: Result file (JSON): UAR, accuracy, recall by class, confusion matrix, and the
            predicted class of each clip.
        split: Split to score.
        embeddings: Folder with embeddings of these clips, for the methods add, max and avg.
        compare_with: Result file of another system on the same clips; adds the one-tailed
            z-test that this model is better, and the exact McNemar test over clips, two-sided.
        batch_size: Clips per step; it changes only the speed.

    Returns:
        UAR, accuracy, p of the z-test on UAR and of McNemar's test, and number of clips.

    Raises:
        InputError: If the model folder is incomplete, the records were made for another model,
            the model needs embeddings or takes none, or others than these, or `compare_with` scored
            other clips.

    Example:
        >>> scored = evaluate(model_dir=Path("model"), records=Path("features"),
        ...     out=Path("metrics.json"))
        >>> scored.counts["clips"], read_metrics(Path("metrics.json"))["classes"]
        (12, ['anger', 'neutral', 'sadness'])
    """
    from ser_nsl.training.data import labelled_clips  # TensorFlow takes seconds to import

    other = read_metrics(compare_with) if compare_with else None
    model, description = load_model(model_dir)
    if ("embedding" in model.input_names) != (embeddings is not None):
        raise InputError(
            "embeddings: a model of the methods add, max and avg, and no other, needs them; "
            f"{model_dir} takes {', '.join(model.input_names)}."
        )
    check_description(description, records)
    clips = labelled_clips(records, (split,), description, embeddings=embeddings)
    if embeddings is not None:
        given = clips.dataset.element_spec[0]["embedding"].shape[-1]
        width = model.inputs[model.input_names.index("embedding")].shape[-1]
        if given != width:
            raise InputError(
                f"{embeddings}: must have {width} numbers a clip, as those that {model_dir} was "
                f"trained with; received {given}. Embed the clips by the same upstream and layers."
            )
    unshared = sorted(other["predictions"].keys() ^ clips.labels.keys()) if other else []
    if unshared:
        raise InputError(
            f"{compare_with}: scored other clips than {records} ({split}) holds; {len(unshared)} "
            f"are in only one of them (first: {', '.join(unshared[:3])}). Score both on the same."
        )
    labels = np.array(list(clips.labels.values()))
    batches = clips.dataset.batch(batch_size).map(lambda x, _: x)
    bar = Bar(batches, desc="scoring", total=-(-len(labels) // batch_size), unit="batch")
    # Traced once, for batches of any size: `predict` traces a last, smaller batch once more.
    logits = tf.function(partial(model, training=False)).get_concrete_function(batches.element_spec)
    predicted = np.concatenate([logits(batch).numpy().argmax(axis=1) for batch in bar])
    result = score(labels, predicted, description.classes)
    names = (description.classes[i] for i in predicted)
    result["predictions"] = dict(zip(clips.labels, names, strict=True))
    shown = {"uar": f"{result['uar']:.1%}", "accuracy": f"{result['accuracy']:.1%}"}
    if other is not None:
        result["p_better"] = z_test(result, other)
        p = result["p_better"]["uar"]
        shown["p"] = f"{p:.3f}" if p >= 0.0005 else "< 0.001"
        truth = zip(clips.labels, (description.classes[i] for i in labels), strict=True)
        others = [other["predictions"][utterance_id] == emotion for utterance_id, emotion in truth]
        result["p_mcnemar"] = mcnemar_test(predicted == labels, others)
        shown["p_mcnemar"] = f"{result['p_mcnemar']:.3f}"
    out.write_text(json.dumps(result, indent=1) + "\n")
    return {**shown, "clips": result["clips"]}


def read_metrics(path: Path) -> dict[str, Any]:
    """Reads the result file of `evaluate`.

    Args:
        path: Result file (JSON).

    Returns:
        The scores, as `score` returns them, and `predictions`, the predicted class by id.

    Raises:
        InputError: If the file is missing or has another form.

    Example:
        >>> made = evaluate(model_dir=Path("model"), records=Path("features"),
        ...     out=Path("metrics.json"))
        >>> sorted(read_metrics(Path("metrics.json")))
        ['accuracy', 'classes', 'clips', 'confusion_matrix', 'predictions', 'recall', 'uar']
    """
    try:
        values = json.loads(Path(path).read_text())
        for name in ("uar", "accuracy"):
            check(0 <= values[name] <= 1, name, "0 to 1", values[name])
        check(values["clips"] >= 1, "clips", "1 or more", values["clips"])
        check(len(values["predictions"].keys()) > 0, "predictions", "1 or more", 0)
        return values
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: is not a result file of `ser-nsl evaluate` ({type(error).__name__}: {error})."
        ) from error
