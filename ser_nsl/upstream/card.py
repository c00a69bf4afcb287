"""The model card of a shipped upstream: every number of ours is read from files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.corpora.manifest import corpus_title
from ser_nsl.errors import InputError
from ser_nsl.evaluation.upstream import NEIGHBORS, read_measures
from ser_nsl.pipeline.stage import read_record
from ser_nsl.reports.page import page_templates
from ser_nsl.upstream.checkpoint import fingerprint, load_upstream

_DATA = Path(__file__).parents[1] / "reports" / "templates" / "upstream_data.yaml"
_LEAST_UAR = 0.6
_AIM_NEIGHBORS = 6


@dataclass(frozen=True)
class Aim:
    """What a measure was meant to exceed.

    Attributes:
        measure: What was measured.
        value: The share found, 0 to 1.
        least: The share to exceed, 0 to 1.
        yardstick: Where `least` comes from, if it was measured too.
    """

    measure: str
    value: float
    least: float
    yardstick: str = ""

    @property
    def verdict(self) -> str:
        """Whether the aim was reached, and by how much it was missed."""
        if self.value > self.least:
            return "reached"
        points = 100 * (self.least - self.value)
        return f"missed by {f'{points:.1f}' if points >= 0.05 else 'less than 0.1'} points"


def make_upstream_card(
    *,
    checkpoint: Path,
    measures: Path,
    trained: Sequence[Path],
    machine: str,
    out: Path,
    folds: Sequence[Path] = (),
    adapted: Sequence[Path] = (),
    tried: Path | None = None,
    data: Path = _DATA,
) -> None:
    """Writes the model card of an upstream that was fine-tuned on RAVDESS.

    No path of the machine is told.

    Args:
        checkpoint: Folder of the shipped checkpoint, with `model.safetensors`; its name becomes
            the model's.
        measures: What `measure_upstream` has found of this very checkpoint.
        trained: What the stages of its training have made, in their order, each with its record:
            pre-training first, fine-tuning last.
        machine: What it was trained on, e.g. `two cores of an Intel Xeon, without a GPU`.
        out: The card, a Markdown file; `README.md` in the checkpoint's folder.
        folds: Measures of the models fine-tuned from the same pre-training on EmoBox's folds of
            RAVDESS, one file a fold.
        adapted: Measures of the checkpoint adapted to a target without its labels, one file a
            target, which names that target only.
        tried: What else was tried, a Markdown text without a title.
        data: What it has learnt from, a YAML list: name, content, language, labels (whether
            they took part), speakers, hours, licence, citation.

    Raises:
        InputError: If a file is missing or malformed, there is no record beside what a stage has
            made, or the measures are those of another checkpoint.
    """
    name = checkpoint.resolve().name
    found = read_measures(measures)
    records = [_read_training(each) for each in trained]
    corpora = _read_data(data)
    model, extractor = load_upstream(str(checkpoint))
    if found["upstream"] != fingerprint(model, extractor, with_head=True):
        raise InputError(
            f"measures: {measures} measured another checkpoint than {checkpoint}; run "
            "tools/measure_upstream.py again."
        )
    adapted_targets = _read_adapted(adapted)
    content = {
        "card_data": _front_matter(name, found, corpora).to_yaml(),
        "name": name,
        "parameters": model.num_parameters(),
        "megabytes": (checkpoint / "model.safetensors").stat().st_size / 1e6,
        "config": model.config,
        "classes": found["source"]["classes"],
        "samples": round(found["clip_seconds"] * SAMPLE_RATE_HZ),
        "measures": found,
        "source": found["source"],
        "targets": found["targets"],
        "adapted": adapted_targets,
        "aims": list(_aims(found)),
        "adapted_aims": list(_aims_of_likeness(adapted_targets, ", adapted to it")),
        "aim_neighbors": _AIM_NEIGHBORS,
        "neighbors": NEIGHBORS,
        "folds": [read_measures(fold) for fold in folds],
        "data": corpora,
        "unlabelled_hours": sum(each["hours"] for each in corpora if not each["labels"]),
        "records": records,
        "versions": list(dict.fromkeys(record["versions"] for record in records)),
        "machine": machine,
        "tried": _read_text(tried) if tried else "",
    }
    card = ModelCard(_TEMPLATES.get_template("upstream_card.md.j2").render(content))
    partial = out.with_name(f".{out.name}.partial")
    card.save(partial)
    partial.replace(out)


def _aims(measures: Mapping[str, Any]) -> Iterator[Aim]:
    source = measures["source"]
    about = f"UAR, {len(source['speakers'])} test speakers of {corpus_title(source['corpus'])}"
    yield Aim(about, source["uar"], _LEAST_UAR)
    yield from _aims_of_likeness(measures["targets"])


def _aims_of_likeness(targets: Mapping[str, Mapping[str, Any]], suffix: str = "") -> Iterator[Aim]:
    for name, target in targets.items():
        for kind, centred in (("other_speakers", ""), ("other_speakers_centered", ", centred")):
            shares = target[kind]
            yield Aim(
                f"neighbours of one emotion, {corpus_title(name)}{suffix}{centred}",
                shares["upstream"][str(_AIM_NEIGHBORS)],
                shares["mfcc"][str(_AIM_NEIGHBORS)],
                f"by MFCCs{centred}",
            )


def _front_matter(
    name: str, measures: Mapping[str, Any], corpora: list[dict[str, Any]]
) -> ModelCardData:
    """What the hub reads of a card."""
    source = measures["source"]
    speakers = ", ".join(source["speakers"])
    tested = {
        "task_type": "audio-classification",
        "task_name": "Speech emotion recognition",
        "dataset_type": source["corpus"],
        "dataset_name": f"{corpus_title(source['corpus'])}, speakers {speakers}",
        "dataset_split": "test",
    }
    results = [
        EvalResult(metric_type="recall", metric_name="UAR", metric_value=source["uar"], **tested),
        EvalResult(
            metric_type="accuracy",
            metric_name="Accuracy",
            metric_value=source["accuracy"],
            **tested,
        ),
    ]
    for target, measured in measures["targets"].items():
        results.append(
            EvalResult(
                task_type="feature-extraction",
                task_name="Likeness of emotional speech",
                dataset_type=target,
                dataset_name=corpus_title(target),
                metric_type="precision",
                metric_name=f"Same emotion among {_AIM_NEIGHBORS} neighbours by other speakers",
                metric_value=measured["other_speakers"]["upstream"][str(_AIM_NEIGHBORS)],
            )
        )
    return ModelCardData(
        model_name=name,
        language=list(dict.fromkeys(each["language"] for each in corpora)),
        license="cc-by-nc-sa-4.0",
        library_name="transformers",
        pipeline_tag="audio-classification",
        tags=["wav2vec2", "tensorflow", "speech-emotion-recognition"],
        metrics=["recall", "accuracy"],
        eval_results=results,
    )


def _read_training(made: Path) -> dict[str, Any]:
    """What the record of a stage tells, in words; of lists, such as dropped clips, the length."""
    record = read_record(made)
    if record is None:
        raise InputError(f"trained: {made} has no stage.json that tells how it was made.")
    counts = {
        key: len(value) if isinstance(value, list) else value
        for key, value in record["counts"].items()
        if value is not None  # as the validation UAR where nothing validates
    }
    versions = {"ser_nsl": record["version"]} | record["versions"]
    return {
        "stage": record["stage"],
        "seconds": record["seconds"],
        "result": ", ".join(_spell(counts)),
        "settings": ", ".join(_spell(record["settings"])),
        "versions": ", ".join(f"{package} {version}" for package, version in versions.items()),
    }


def _spell(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields nested settings as `key value`, without folders of the machine."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _spell(value, f"{prefix}{key}.")
        else:
            values = value if isinstance(value, list) else [value]
            yield f"`{prefix}{key}` {' '.join(map(_portable, values)) or 'none'}"


def _portable(value: Any) -> str:
    is_path = isinstance(value, str) and Path(value).is_absolute()
    return Path(value).name if is_path else json.dumps(value).strip('"')


def _read_adapted(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Measures by the target that the checkpoint was adapted to."""
    adapted: dict[str, dict[str, Any]] = {}
    for path in paths:
        targets = read_measures(path)["targets"]
        if len(targets) != 1 or targets.keys() & adapted.keys():
            raise InputError(
                f"adapted: {path} must hold the measures of one target, and no other file the "
                f"same; it holds {', '.join(targets) or 'none'}."
            )
        adapted |= targets
    return adapted


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"tried: {path} is not a text file ({error}).") from error


def _read_data(path: Path) -> list[dict[str, Any]]:
    keys = {"name", "content", "language", "labels", "speakers", "hours", "licence", "citation"}
    try:
        corpora = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        lacking = [
            f"{sorted(keys - each.keys())} of {each}" for each in corpora if keys - each.keys()
        ]
    except (OSError, yaml.YAMLError, TypeError, AttributeError) as error:
        raise InputError(f"data: {path} is not a YAML list of corpora ({error}).") from error
    if lacking:
        raise InputError(f"data: {path} lacks {lacking[0]}; complete it.")
    return corpora


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _mean(measures: list[dict[str, Any]], key: str) -> float:
    """Mean of a score over the source corpora of several measurements."""
    return fmean(each["source"][key] for each in measures)


_TEMPLATES = page_templates(percent=_percent, duration=_duration, corpus=corpus_title, mean=_mean)
