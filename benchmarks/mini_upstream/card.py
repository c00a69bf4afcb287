"""The model cards of the upstreams that ship; all their figures are read from files."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import jinja2
import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ser_nsl.audio.clip import SAMPLE_RATE_HZ
from ser_nsl.corpora.manifest import corpus_title
from ser_nsl.errors import InputError
from ser_nsl.evaluation.upstream import MFCC, read_measures
from ser_nsl.pipeline.record import read_record
from ser_nsl.upstream.checkpoint import load_upstream

_DATA = Path(__file__).with_name("data.yaml")
_LEAST_LINEAR = {"emodb": 0.80, "emovo": 0.45}
_LEAST_HEAD = 0.75
_ABOVE_MFCC = 0.05


@dataclass(frozen=True)
class Target:
    """A figure that a measure was meant to reach.

    Attributes:
        measure: What was measured.
        value: The share found, 0 to 1.
        least: The share to reach, 0 to 1.
    """

    measure: str
    value: float
    least: float

    @property
    def verdict(self) -> str:
        """Whether the target was reached, and by how much it was missed."""
        if self.value >= self.least:
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
    others: Sequence[Path] = (),
    folds: Sequence[Path] = (),
    tried: Path | None = None,
    data: Path = _DATA,
) -> None:
    """Writes the model card of a distilled upstream, with or without an emotion head.

    The card names no folder of the machine.

    Args:
        checkpoint: Folder of the shipped checkpoint, whose name becomes the model's.
        measures: Result file of `measure_upstream`, in which this checkpoint is among others.
        trained: Results of the stages that trained it, in their order, each with its record.
        machine: Machine that trained it, e.g. `two cores of an Intel Xeon, without a GPU`.
        out: The card, a Markdown file.
        others: Results of stages that trained the head in another way, and worse.
        folds: Results of `train_head` on the six folds of EmoBox.
        tried: Markdown text without a title about what else was tried.
        data: YAML file of what the models have learned from: the teacher, and corpora, each with
            name, content, language, labels (whether they taught the head), speakers, hours,
            licence and citation.

    Raises:
        InputError: If a file is missing or malformed, a result of a stage has no record, or the
            checkpoint was not measured.
    """
    name = checkpoint.resolve().name
    found = read_measures(measures)
    loaded = load_upstream(str(checkpoint))
    own = _own_space(found, name, loaded.head is not None)
    if found["embeddings"][own].partition(":")[0] != loaded.fingerprint(
        with_head=loaded.head is not None
    ):
        raise InputError(
            f"measures: {measures} measured another checkpoint than {checkpoint}; run "
            "ser-nsl measure-upstream again."
        )
    read_data = _read_data(data)
    corpora = [
        each for each in read_data["corpora"] if loaded.head is not None or not each["labels"]
    ]
    source = _of_name(found["source"], name) if loaded.head is not None else None
    records = [_read_training(each) for each in trained]
    content = {
        "card_data": _front_matter(name, found, own, source, corpora).to_yaml(),
        "name": name,
        "parameters": loaded.encoder.parameters,
        "megabytes": (checkpoint / "model.safetensors").stat().st_size / 1e6,
        "config": loaded.encoder.body.config,
        "head": loaded.head,
        "samples": round(found["clip_seconds"] * SAMPLE_RATE_HZ),
        "clip_seconds": found["clip_seconds"],
        "layers": own.rpartition("layers ")[2].replace("+", " "),
        "source": source,
        "targets": list(_targets(found, own, source)),
        "corpora": found["targets"],
        "own": own,
        "labels_of": list(found["targets"]),
        "teacher": read_data["teacher"],
        "data": corpora,
        "hours": sum(each["hours"] for each in corpora if not each["labels"]),
        "records": records,
        "others": [_read_training(each) for each in others],
        "folds": [_read_counts(fold) for fold in folds],
        "versions": list(dict.fromkeys(record["versions"] for record in records)),
        "machine": machine,
        "tried": _read_text(tried) if tried else "",
    }
    card = ModelCard(_TEMPLATES.get_template("card.md.j2").render(content))
    partial = out.with_name(f".{out.name}.partial")
    card.save(partial)
    partial.replace(out)


def _own_space(measures: Mapping[str, Any], name: str, has_head: bool) -> str:
    """Name of the embeddings that the chain takes of a checkpoint: FC1, or else its layers."""
    part = "FC1" if has_head else "layers "
    for space in measures["embeddings"]:
        place, _, taken = space.rpartition(", ")
        if Path(place).name == name and taken.startswith(part):
            return space
    raise InputError(f"measures: {name} is not among {', '.join(measures['embeddings'])}.")


def _of_name(by_upstream: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(value for key, value in by_upstream.items() if Path(key).name == name)


def _targets(
    measures: Mapping[str, Any], own: str, source: Mapping[str, Any] | None
) -> Iterator[Target]:
    if source is not None:
        about = f"UAR, {len(source['speakers'])} test speakers of {corpus_title(source['corpus'])}"
        yield Target(about, source["uar"], _LEAST_HEAD)
    for name, least in _LEAST_LINEAR.items():
        if name in measures["targets"]:
            spaces, title = measures["targets"][name]["spaces"], corpus_title(name)
            about = f"UAR of a linear classifier, {title}"
            yield Target(about, spaces[own]["uar"]["raw"]["all"], least)
            near, plain = (spaces[space]["neighbors"]["centered"] for space in (own, MFCC))
            about = f"six nearest by others with one emotion, centred, {title} (MFCC + 5 points)"
            yield Target(about, near, plain + _ABOVE_MFCC)


def _front_matter(
    name: str,
    measures: Mapping[str, Any],
    own: str,
    source: Mapping[str, Any] | None,
    corpora: list[dict[str, Any]],
) -> ModelCardData:
    """The part of a card that the hub reads."""
    results = []
    if source is not None:
        speakers = ", ".join(source["speakers"])
        tested = {
            "task_type": "audio-classification",
            "task_name": "Speech emotion recognition",
            "dataset_type": source["corpus"],
            "dataset_name": f"{corpus_title(source['corpus'])}, speakers {speakers}",
            "dataset_split": "test",
        }
        for kind, title, key in (("recall", "UAR", "uar"), ("accuracy", "Accuracy", "accuracy")):
            results.append(
                EvalResult(metric_type=kind, metric_name=title, metric_value=source[key], **tested)
            )
    for corpus, measured in measures["targets"].items():
        if source is None or corpus != source["corpus"]:
            results.append(
                EvalResult(
                    task_type="feature-extraction",
                    task_name="Emotion of speakers that were not heard, by a linear classifier",
                    dataset_type=corpus,
                    dataset_name=corpus_title(corpus),
                    metric_type="recall",
                    metric_name="UAR",
                    metric_value=measured["spaces"][own]["uar"]["raw"]["all"],
                )
            )
    return ModelCardData(
        model_name=name,
        language=list(dict.fromkeys(each["language"] for each in corpora)),
        license="mit" if source is None else "cc-by-nc-sa-4.0",
        library_name="transformers",
        pipeline_tag="feature-extraction" if source is None else "audio-classification",
        tags=["wav2vec2", "speech-emotion-recognition"],
        metrics=["recall", "accuracy"],
        eval_results=results,
    )


def _read_training(made: Path) -> dict[str, Any]:
    """The record of a stage in words; lists, such as that of dropped clips, as their length."""
    record = _read_record(made)
    counts = {
        key: len(value) if isinstance(value, list) else value
        for key, value in record["counts"].items()
        if value is not None  # such as the validation UAR without a validation split
    }
    versions = {"ser_nsl": record["version"]} | record["versions"]
    return {
        "stage": record["stage"],
        "seconds": record["seconds"],
        "result": ", ".join(_spell(counts)),
        "settings": ", ".join(_spell(record["settings"])),
        "versions": ", ".join(f"{package} {version}" for package, version in versions.items()),
    }


def _read_counts(made: Path) -> dict[str, Any]:
    """UAR of a fold, 0 to 1, and its number."""
    counts = _read_record(made)["counts"]
    return {key: float(counts[key].rstrip("%")) / 100 for key in ("val_uar", "test_uar")}


def _read_record(made: Path) -> dict[str, Any]:
    record = read_record(made)
    if record is None:
        raise InputError(f"trained: {made} has no stage.json; give the result of a stage.")
    return record


def _spell(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yields nested settings as `key value`; paths lose their folders."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _spell(value, f"{prefix}{key}.")
        else:
            values = value if isinstance(value, list) else [value]
            yield f"`{prefix}{key}` {' '.join(map(_portable, values)) or 'none'}"


def _portable(value: Any) -> str:
    is_path = isinstance(value, str) and Path(value).is_absolute()
    return Path(value).name if is_path else json.dumps(value).strip('"')


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"tried: {path} is not a text file ({error}).") from error


def _read_data(path: Path) -> dict[str, Any]:
    keys = {"name", "content", "language", "labels", "speakers", "hours", "licence", "citation"}
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        lacking = [keys - each.keys() for each in data["corpora"] if keys - each.keys()]
        lacking += [{"name", "licence", "citation"} - data["teacher"].keys()]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"data: {path} does not hold teacher and corpora ({error!r}).") from error
    if any(lacking):
        raise InputError(f"data: {path} lacks {sorted(set().union(*lacking))}; complete it.")
    return data


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _short(space: str) -> str:
    """Name of embeddings without the folders of the machine."""
    upstream, comma, part = space.rpartition(", ")
    return f"{Path(upstream).name}{comma}{part}"


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {
    "percent": _percent,
    "duration": _duration,
    "corpus": corpus_title,
    "short": _short,
    "mean": fmean,
}
