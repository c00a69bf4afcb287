"""Exports a run's recognisers into a folder of models/.

    python benchmarks/release/release_models.py --run runs/ravdess_to_emodb \
        --benchmark results/tflite --out models/emodb --name "German speech emotions (EmoDB)"

It writes the cards of all models, and models/README.md, which lists them, from the records of the
releases.
"""

import json
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import jinja2

from ser_nsl.audio.features import Description
from ser_nsl.cli import run as run_command
from ser_nsl.corpora.manifest import corpus_title, read_manifest, training_data_note
from ser_nsl.edge import RUNTIMES
from ser_nsl.errors import InputError
from ser_nsl.export.clips import Clips
from ser_nsl.export.forms import Exported, make_forms
from ser_nsl.export.metadata import Card
from ser_nsl.pipeline.experiment import load_experiment
from ser_nsl.pipeline.results import EXPERIMENT_NAME, model_label
from ser_nsl.pipeline.stage import stage
from ser_nsl.reports.facts import gather_facts

FORMS = ("float16", "int8")
RECORD_NAME = "release.json"
_RECORDED = ("bytes", "uar", "keras_uar", "label_agreement", "broken_bounds")


@stage(inputs=("benchmark",), makes="folder")
def release_recognisers(
    *,
    run: Path,
    benchmark: Path,
    out: Path,
    name: str,
    model_version: str = "1",
    author: str = "",
    force: bool = False,
) -> Mapping[str, Any]:
    """Exports every network of a finished run as float16 and int8, with a card.

    The first seed of each network is exported, trained by `nsl` if the run has that method, else
    by `base`, so that no test score influences the choice.

    Args:
        run: Folder of the run.
        benchmark: Folder that benchmarks/tflite.py made from the run's models, for the latencies.
        out: Folder for `NETWORK_FORM.tflite`, and `release.json` with the facts for the card.
        name: Name of the recognisers, in their metadata and on the card.
        model_version: Version of the recognisers.
        author: Author of the recognisers.
        force: Release forms that break their bound too; the card says so.

    Returns:
        Numbers of networks and files, and their bytes.

    Raises:
        InputError: If the run is not finished, a form breaks its bound and is not forced, or the
            benchmark lacks a network.
    """
    experiment = load_experiment(str(run / EXPERIMENT_NAME))
    facts = gather_facts(run)
    latencies = read_latencies(benchmark)
    method = next((name for name in ("nsl", "base") if name in experiment.methods), None)
    if method is None:
        raise InputError(f"{run}: has no model of nsl or base, the methods that phones can run.")
    manifest = run / "target" / "manifest.csv"
    note = training_data_note(read_manifest(manifest))
    files = []
    for network in experiment.networks:
        model_dir = run / "models" / model_label(network, method, experiment.seeds[0])
        forms = export_forms(model_dir, manifest, (name, model_version, author, note))
        files += write_files(model_dir, forms, network, latencies, out, force)
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
        "clip_seconds": facts["input"]["clip_seconds"],
        **{key: facts[key] for key in ("classes", "target", "upstream", "command", "machine")},
        "caution": experiment.caution,
    }
    (out / RECORD_NAME).write_text(json.dumps(record, indent=1) + "\n")
    return {
        "networks": len(experiment.networks),
        "files": len(files),
        "bytes": sum(file["bytes"] for file in files),
    }


def read_latencies(benchmark: Path) -> dict[tuple[str, str], float]:
    """Reads the median milliseconds with one thread of LiteRT, by network and form."""
    path = benchmark / "benchmark.json"
    if not path.is_file():
        raise InputError(f"benchmark: {path} does not exist; run benchmarks/tflite.py first.")
    return {
        (row["network"], row["form"]): row["median_ms"]
        for row in json.loads(path.read_text())["rows"]
        if row["threads"] == 1 and row["runtime"] == RUNTIMES[0]
    }


def export_forms(
    model_dir: Path, manifest: Path, about: tuple[str, str, str, str]
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
    return make_forms(model_dir, card, training=training, judged=judged, tested=tested)


def write_files(
    model_dir: Path,
    forms: Mapping[str, Exported],
    network: str,
    latencies: Mapping[tuple[str, str], float],
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
        if (network, form) not in latencies:
            raise InputError(
                f"benchmark: has no latency of {network} in {form}; run benchmarks/tflite.py on "
                f"{model_dir} too."
            )
        file = f"{network}_{form}.tflite"
        (out / file).write_bytes(forms[form].content)
        files.append(
            {
                "file": file,
                "network": network,
                "form": form,
                "milliseconds": latencies[network, form],
                **{key: report[key] for key in _RECORDED},
            }
        )
    return files


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
_TEMPLATES.filters["percent"] = lambda share: f"{share:.1%}".replace("%", " %")


if __name__ == "__main__":
    run_command(main)
