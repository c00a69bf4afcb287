"""The stage that puts a run's recognisers into a folder, with a card, and the list of all such."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_nsl.audio.features import Description
from ser_nsl.corpora.manifest import corpus_title, read_manifest, training_data_note
from ser_nsl.edge import RUNTIMES
from ser_nsl.errors import InputError
from ser_nsl.export.clips import Clips
from ser_nsl.export.convert import Form
from ser_nsl.export.forms import Exported, make_forms
from ser_nsl.export.metadata import Card
from ser_nsl.pipeline.experiment import load_experiment
from ser_nsl.pipeline.plan import released_method
from ser_nsl.pipeline.results import EXPERIMENT_NAME, model_label
from ser_nsl.pipeline.stage import stage
from ser_nsl.reports.facts import gather_facts
from ser_nsl.reports.page import page_templates

FORMS: tuple[Form, ...] = ("float16", "int8")
RECORD_NAME = "release.json"
_TOLD = ("bytes", "uar", "keras_uar", "label_agreement", "broken_bounds")


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
    """Exports every network of a finished run as float16 and int8; `write_cards` describes them.

    Of each network the first seed is exported, by `nsl` if it is among the methods, else by
    `base`, so that no test score chooses it.

    Args:
        run: Folder of the run.
        benchmark: What tools/benchmark_tflite.py has made of its models, for the latencies.
        out: Folder for `NETWORK_FORM.tflite`, and `release.json` with what is known of them.
        name: Of the recognisers, in their metadata and on the card.
        model_version: Of the recognisers.
        author: Who made them.
        force: Release forms that break their bound too; the card says so.

    Returns:
        Numbers of networks and files, and their bytes.

    Raises:
        InputError: If the run is not finished, a form breaks its bound and is not forced, or the
            benchmark lacks a network.
    """
    experiment = load_experiment(str(run / EXPERIMENT_NAME))
    facts = gather_facts(run)
    latencies = _read_latencies(benchmark)
    method = released_method(experiment)
    if method is None:
        raise InputError(f"{run}: has no model of nsl or base, the methods that phones can run.")
    rows = []
    for network in experiment.networks:
        model_dir = run / "models" / model_label(network, method, experiment.seeds[0])
        card = _card(model_dir, run / "target" / "manifest.csv", name, model_version, author)
        forms = _forms(model_dir, run / "target" / "manifest.csv", card)
        rows += _export(model_dir, forms, network, latencies, out, force)
    results = {
        row["network"]: {key: row[key] for key in ("uar_mean", "uar_sd", "seeds", "clips")}
        for row in facts["results"]
        if row["method"] == method
    }
    record = {
        "name": name,
        "version": model_version,
        "corpus": corpus_title(experiment.target.corpus),
        "method": method,
        "files": rows,
        "results": results,
        "note": training_data_note(read_manifest(run / "target" / "manifest.csv")),
        "clip_seconds": facts["input"]["clip_seconds"],
        **{key: facts[key] for key in ("classes", "target", "upstream", "command", "machine")},
        "caution": experiment.caution,
    }
    (out / RECORD_NAME).write_text(json.dumps(record, indent=1) + "\n")
    return {
        "networks": len(experiment.networks),
        "files": len(rows),
        "bytes": sum(row["bytes"] for row in rows),
    }


def _read_latencies(benchmark: Path) -> dict[tuple[str, str], float]:
    """Median milliseconds on one thread of LiteRT, by network and form."""
    try:
        measured = json.loads((benchmark / "benchmark.json").read_text())
    except FileNotFoundError as error:
        raise InputError(
            f"benchmark: {benchmark} holds no benchmark.json; run tools/benchmark_tflite.py first."
        ) from error
    return {
        (row["network"], row["form"]): row["median_ms"]
        for row in measured["rows"]
        if row["threads"] == 1 and row["runtime"] == RUNTIMES[0]
    }


def _card(model_dir: Path, manifest: Path, name: str, version: str, author: str) -> Card:
    description = Description.load(model_dir)
    return Card(
        name,
        version,
        description.classes,
        description.front_end.sample_rate_hz,
        description.clip_samples,
        author,
        training_data_note(read_manifest(manifest)),
    )


def _forms(model_dir: Path, manifest: Path, card: Card) -> dict[Form, Exported]:
    description = Description.load(model_dir)
    training, tested = (
        Clips.of_split(split, manifest, None, description) for split in ("train", "test")
    )
    return make_forms(model_dir, card, training=training, tested=tested)


def _export(
    model_dir: Path,
    forms: Mapping[Form, Exported],
    network: str,
    latencies: Mapping[tuple[str, str], float],
    out: Path,
    force: bool,
) -> list[dict[str, Any]]:
    """Writes the forms of one network, and says what stands on the card."""
    rows = []
    for form in FORMS:
        report = forms[form].report
        if report["broken_bounds"] and not force:
            raise InputError(
                f"{model_dir}: as {form}, {'; '.join(report['broken_bounds'])}; release another "
                "seed, or give --force, and the card will say so."
            )
        if (network, form) not in latencies:
            raise InputError(
                f"benchmark: knows no {network} in {form}; run tools/benchmark_tflite.py on "
                f"{model_dir} too."
            )
        file = f"{network}_{form}.tflite"
        (out / file).write_bytes(forms[form].content)
        rows.append(
            {
                "file": file,
                "network": network,
                "form": form,
                "milliseconds": latencies[network, form],
                **{key: report[key] for key in _TOLD},
            }
        )
    return rows


def write_cards(models: Path) -> None:
    """Writes the card of each release, its `README.md`, and that of their folder, a list of all.

    Args:
        models: Folder whose subfolders hold recognisers with a `release.json`; those with a card
            only are upstreams.
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


def _percent(share: float) -> str:
    return f"{share:.1%}".replace("%", " %")


_TEMPLATES = page_templates(percent=_percent)
