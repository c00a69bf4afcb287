"""The model card of the upstream that ships; all its figures are read from files."""

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
from ser_nsl.evaluation.upstream import NEIGHBORS, read_measures
from ser_nsl.pipeline.stage import read_record
from ser_nsl.upstream.checkpoint import load_upstream

_DATA = Path(__file__).with_name("data.yaml")
_LEAST_UAR = 0.6
_TARGET_NEIGHBORS = 6


@dataclass(frozen=True)
class Target:
    """A figure that a measure was meant to exceed.

    Attributes:
        measure: What was measured.
        value: The share found, 0 to 1.
        least: The share to exceed, 0 to 1.
        baseline: Where `least` comes from, if it was measured too.
    """

    measure: str
    value: float
    least: float
    baseline: str = ""

    @property
    def verdict(self) -> str:
        """Whether the target was reached, and by how much it was missed."""
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

    The card names no folder of the machine.

    Args:
        checkpoint: Folder of the shipped checkpoint, with `model.safetensors`. Its name becomes
            the model's.
        measures: Result file of `measure_upstream` for this checkpoint.
        trained: Results of the stages that trained it, in their order, each with its record:
            pre-training first, fine-tuning last.
        machine: Machine that trained it, e.g. `two cores of an Intel Xeon, without a GPU`.
        out: The card, a Markdown file; `README.md` in the checkpoint's folder.
        folds: Result files for the models fine-tuned from the same pre-training on EmoBox's folds
            of RAVDESS, one per fold.
        adapted: Result files for the checkpoint adapted to a corpus without its labels, one per
            corpus, which is the only one that it names.
        tried: Markdown text without a title about what else was tried.
        data: YAML list of the training corpora: name, content, language, labels (whether they
            were used), speakers, hours, licence, citation.

    Raises:
        InputError: If a file is missing or malformed, a result of a stage has no record, or the
            measures are those of another checkpoint.
    """
    name = checkpoint.resolve().name
    found = read_measures(measures)
    records = [_read_training(each) for each in trained]
    corpora = _read_data(data)
    loaded = load_upstream(str(checkpoint))
    if found["upstream"] != loaded.fingerprint(with_head=True):
        raise InputError(
            f"measures: {measures} measured another checkpoint than {checkpoint}; run "
            "ser-nsl measure-upstream again."
        )
    adapted_corpora = _read_adapted(adapted)
    content = {
        "card_data": _front_matter(name, found, corpora).to_yaml(),
        "name": name,
        "parameters": loaded.encoder.parameters,
        "megabytes": (checkpoint / "model.safetensors").stat().st_size / 1e6,
        "config": loaded.encoder.body.config,
        "classes": found["source"]["classes"],
        "samples": round(found["clip_seconds"] * SAMPLE_RATE_HZ),
        "measures": found,
        "source": found["source"],
        "corpora": found["targets"],
        "adapted": adapted_corpora,
        "targets": list(_targets(found)),
        "adapted_targets": list(_similarity_targets(adapted_corpora, ", adapted to it")),
        "target_neighbors": _TARGET_NEIGHBORS,
        "neighbors": NEIGHBORS,
        "folds": [read_measures(fold) for fold in folds],
        "data": corpora,
        "unlabelled_hours": sum(each["hours"] for each in corpora if not each["labels"]),
        "records": records,
        "versions": list(dict.fromkeys(record["versions"] for record in records)),
        "machine": machine,
        "tried": _read_text(tried) if tried else "",
    }
    card = ModelCard(_TEMPLATES.get_template("card.md.j2").render(content))
    partial = out.with_name(f".{out.name}.partial")
    card.save(partial)
    partial.replace(out)


def _targets(measures: Mapping[str, Any]) -> Iterator[Target]:
    source = measures["source"]
    about = f"UAR, {len(source['speakers'])} test speakers of {corpus_title(source['corpus'])}"
    yield Target(about, source["uar"], _LEAST_UAR)
    yield from _similarity_targets(measures["targets"])


def _similarity_targets(
    corpora: Mapping[str, Mapping[str, Any]], suffix: str = ""
) -> Iterator[Target]:
    for name, measured in corpora.items():
        for kind, centred in (("other_speakers", ""), ("other_speakers_centered", ", centred")):
            shares = measured[kind]
            yield Target(
                f"neighbours of the same emotion, {corpus_title(name)}{suffix}{centred}",
                shares["upstream"][str(_TARGET_NEIGHBORS)],
                shares["mfcc"][str(_TARGET_NEIGHBORS)],
                f"by MFCCs{centred}",
            )


def _front_matter(
    name: str, measures: Mapping[str, Any], corpora: list[dict[str, Any]]
) -> ModelCardData:
    """The part of a card that the hub reads."""
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
    for corpus, measured in measures["targets"].items():
        results.append(
            EvalResult(
                task_type="feature-extraction",
                task_name="Similarity of emotional speech",
                dataset_type=corpus,
                dataset_name=corpus_title(corpus),
                metric_type="precision",
                metric_name=f"Same emotion among {_TARGET_NEIGHBORS} neighbours by other speakers",
                metric_value=measured["other_speakers"]["upstream"][str(_TARGET_NEIGHBORS)],
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
    """The record of a stage in words; lists, such as that of dropped clips, as their length."""
    record = read_record(made)
    if record is None:
        raise InputError(f"trained: {made} has no stage.json; give the result of a stage.")
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


def _read_adapted(paths: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """Reads measures, by the corpus that the checkpoint was adapted to."""
    adapted: dict[str, dict[str, Any]] = {}
    for path in paths:
        corpora = read_measures(path)["targets"]
        if len(corpora) != 1 or corpora.keys() & adapted.keys():
            raise InputError(
                f"adapted: {path} must hold the measures of one corpus, which no other file has; "
                f"it holds {', '.join(corpora) or 'none'}."
            )
        adapted |= corpora
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
    """Mean of a score on the source corpus over several measurements."""
    return fmean(each["source"][key] for each in measures)


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
    "mean": _mean,
}
