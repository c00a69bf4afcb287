"""Exports a run's recognisers into a folder of models/.

    python -m benchmarks.release.release_models --run runs/german --out models/emodb \
        --name "German speech emotions (EmoDB)"

It tries each file on the test speakers under all conditions, writes the cards of all models, and
models/README.md, which lists them, from the records of the releases.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.release.tensors import tensors
from benchmarks.release.trial import try_out
from ser_nsl.audio.features import Description
from ser_nsl.cli import run_function
from ser_nsl.corpora.manifest import audio_paths, corpus_title, read_manifest, training_data_note
from ser_nsl.errors import InputError
from ser_nsl.export.clips import Clips
from ser_nsl.export.forms import Exported, make_forms
from ser_nsl.export.metadata import Card
from ser_nsl.pipeline.experiment import load_experiment
from ser_nsl.pipeline.results import EXPERIMENT_NAME, model_label
from ser_nsl.pipeline.stage import stage
from ser_nsl.reports.facts import gather_facts
from ser_nsl.training.settings import TRANSFERS
from ser_nsl.upstream.windows import find_speech

FORMS = ("float16", "int8")
_AIM = 8
_AIMS = {
    **dict.fromkeys(("-30 dB", "-20 dB", "-10 dB", "+6 dB", "zero-padded"), 1),
    **dict.fromkeys(("a second of silence before", "a second of room noise before"), 1),
    **dict.fromkeys(("white noise, 10 dB", "pink noise, 10 dB"), 15),
}
"""Points of UAR that a condition may cost; `_AIM` where it is not named."""

RECORD_NAME = "release.json"
_RECORDED = ("bytes", "temperature", "uar", "keras_uar", "label_agreement", "broken_bounds")


@stage(inputs=(), makes="folder")
def release_recognisers(
    *,
    run: Path,
    out: Path,
    name: str,
    model_version: str = "1",
    author: str = "",
    licence: str | None = None,
    left_out: Path | None = None,
    recipe: str = "",
    force: bool = False,
) -> Mapping[str, Any]:
    """Exports every network of a finished run as float16 and int8, with a card.

    The first seed of each network is exported, trained by the last of the run's methods that
    phones can run, so that no test score influences the choice.

    Args:
        run: Folder of the run.
        out: Folder for `NETWORK_FORM.tflite`, and `release.json` with the facts for the card.
        name: Name of the recognisers, in their metadata and on the card.
        model_version: Version of the recognisers.
        author: Author of the recognisers.
        licence: Terms of use, in the files and on the card; by default those of the known corpora
            that the manifest names.
        left_out: What `benchmarks.release.left_out` has written, for the card.
        recipe: Why it is trained as it is, for the card, below what `left_out` says.
        force: Release forms that break their bound too; the card says so.

    Returns:
        Numbers of networks and files, and their bytes.

    Raises:
        InputError: If the run is not finished, or a form breaks its bound and is not forced.
    """
    experiment = load_experiment(str(run / EXPERIMENT_NAME))
    facts = gather_facts(run)
    method = next((name for name in experiment.methods[::-1] if name not in TRANSFERS), None)
    if method is None:
        raise InputError(f"{run}: has no model that phones can run without the upstream.")
    manifest = run / "target" / "manifest.csv"
    table = read_manifest(manifest)
    note = training_data_note(table) if licence is None else licence
    tested = table[table["split"] == "test"]
    paths = audio_paths(tested, manifest, None)
    others = find_speech(experiment.speech) if experiment.speech else []
    files = []
    for network in experiment.networks:
        model_dir = run / "models" / model_label(network, method, experiment.seeds[0])
        about = name, model_version, author, note
        forms = export_forms(model_dir, manifest, about, others)
        for file in write_files(model_dir, forms, network, out, force):
            trial = try_out(out / file["file"], paths, list(tested["emotion"]))
            files.append(file | {"trial": trial})
    results = {
        row["network"]: {key: row[key] for key in ("uar_mean", "uar_sd", "seeds", "clips")}
        for row in facts["results"]
        if row["method"] == method
    }
    record = {
        "name": name,
        "version": model_version,
        "corpus": experiment.target.name or corpus_title(experiment.target.corpus),
        "method": method,
        "files": files,
        "results": results,
        "note": note,
        "speakers": {split: sorted(set(rows["speaker"])) for split, rows in table.groupby("split")},
        "clip_seconds": facts["input"]["clip_seconds"],
        "command": f"ser-nsl run-pipeline --config benchmarks/release/{experiment.name}.yaml",
        **{key: facts[key] for key in ("classes", "target", "upstream", "machine")},
        "caution": experiment.caution,
        "recipe": recipe,
    }
    if left_out is not None:
        record["left_out"] = json.loads(left_out.read_text())
    (out / RECORD_NAME).write_text(json.dumps(record, indent=1) + "\n")
    return {
        "networks": len(experiment.networks),
        "files": len(files),
        "bytes": sum(file["bytes"] for file in files),
    }


def export_forms(
    model_dir: Path, manifest: Path, about: tuple[str, str, str, str], speech: Sequence[Path]
) -> dict[str, Exported]:
    """Exports a model with metadata about its name, version, author and licence."""
    description = Description.load(model_dir)
    name, version, author, licence = about
    rate, samples = description.front_end.sample_rate_hz, description.clip_samples
    card = Card(name, version, description.classes, rate, samples, author, licence)
    training, tested = (
        Clips.of_split(split, manifest, None, description) for split in ("train", "test")
    )
    judged = Clips.for_bounds(manifest, None, description)
    return make_forms(
        model_dir, card, training=training, judged=judged, tested=tested, speech=speech
    )


def write_files(
    model_dir: Path,
    forms: Mapping[str, Exported],
    network: str,
    out: Path,
    force: bool,
) -> list[dict[str, Any]]:
    """Writes the forms of one network; returns the facts for the card."""
    files = []
    for form in FORMS:
        report = forms[form].report
        if report["broken_bounds"] and not force:
            raise InputError(
                f"{model_dir}: as {form}, {'; '.join(report['broken_bounds'])}; release another "
                "seed, or give --force, and the card will say so."
            )
        file = f"{network}_{form}.tflite"
        (out / file).write_bytes(forms[form].content)
        files.append(
            {
                "file": file,
                "network": network,
                "form": form,
                "sha256": hashlib.sha256(forms[form].content).hexdigest(),
                "labels": [*forms[form].labels],
                **tensors(out / file),
                **{key: report[key] for key in _RECORDED},
            }
        )
    return files


def missed_aims(file: Mapping[str, Any]) -> list[str]:
    """Lists the conditions that cost more points than they may, with the loss."""
    conditions = file["trial"]["conditions"]
    best = conditions["as recorded"]["uar"]
    missed = []
    for condition, found in conditions.items():
        loss = 100 * (best - found["uar"])
        if loss > _AIMS.get(condition, _AIM):
            missed.append(f"{condition} ({loss:.1f} points)")
    return missed


def write_cards(models: Path) -> None:
    """Writes the card of each release, its `README.md`, and the `README.md` that lists them all.

    Args:
        models: Folder of model folders. Those with a `release.json` hold recognisers; those with
            only a card hold upstreams.
    """
    released = {
        path.parent.name: json.loads(path.read_text())
        for path in sorted(models.glob(f"*/{RECORD_NAME}"))
    }
    for folder, record in released.items():
        card = _TEMPLATES.get_template("recogniser_card.md.j2").render(record, folder=folder)
        (models / folder / "README.md").write_text(card)
    cards = sorted(path.parent.name for path in models.glob("*/README.md"))
    upstreams = [folder for folder in cards if folder not in released]
    page = _TEMPLATES.get_template("models.md.j2").render(released=released, upstreams=upstreams)
    (models / "README.md").write_text(page)


@wraps(release_recognisers)
def main(**arguments: Any) -> str:
    """Releases a run's recognisers, and writes all cards."""
    result = release_recognisers(**arguments)
    write_cards(result.out.parent)
    return str(result)


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters["missed"] = missed_aims
_TEMPLATES.filters["percent"] = lambda share: f"{share:.1%}".replace("%", " %")


if __name__ == "__main__":
    run_function(main)
