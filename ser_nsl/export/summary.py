"""What is written down of an export: `export_report.json`, and the same as a table."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ser_nsl.export.metadata import Card
from ser_nsl.export.parity import LARGEST_DIFFERENCE

REPORT_NAME = "export_report.json"


def describe_ends(card: Card) -> dict[str, Any]:
    """What the report says of input and output.

    Args:
        card: Of the recogniser.
    """
    return {
        "input": {
            "name": "waveform",
            "dtype": "float32",
            "shape": [1, card.clip_samples],
            "sample_rate_hz": card.sample_rate_hz,
        },
        "output": {
            "name": "probabilities",
            "dtype": "float32",
            "shape": [1, len(card.labels)],
            "labels": [*card.labels],
        },
    }


def write_report(report: Mapping[str, Any], folder: Path) -> None:
    """Writes `export_report.json` in place of an earlier one."""
    (folder / REPORT_NAME).write_text(json.dumps(report, indent=1) + "\n")


def report_table(folder: Path) -> str:
    """The report of the last export into a folder, as a table.

    Args:
        folder: Where `export_report.json` lies.

    Returns:
        One line a form, then what the file hears, says and is made of.
    """
    report = json.loads((folder / REPORT_NAME).read_text())
    rows = [
        (
            form,
            f"{each['bytes'] / 1e6:.2f}",
            f"{each['largest_difference']:.1e}",
            f"{each['mean_difference']:.1e}",
            f"{each['label_agreement']:.1%}",
            "–" if each["uar"] is None else f"{each['uar']:.1%}",
            "; ".join(each["broken_bounds"]) or _unbroken(form, each),
        )
        for form, each in report["forms"].items()
    ]
    headers = ("form", "MB", "largest diff.", "mean diff.", "same label", "UAR", "bounds")
    chosen = report["forms"][report["quantization"]]
    uar = "" if chosen["keras_uar"] is None else f"; Keras's UAR is {chosen['keras_uar']:.1%}"
    lines = [
        tabulate(rows, headers=headers, disable_numparse=True),
        f"Differences from Keras on {report['clips']} clips ({report['split']}){uar}.",
        f"Input: waveform, float32, {report['input']['shape']}, mono, "
        f"{report['input']['sample_rate_hz']} Hz. Output: probabilities of "
        f"{', '.join(report['output']['labels'])}.",
        f"Operators: {', '.join(chosen['operators'])}.",
    ]
    if report["forced"]:
        lines.append(f"Forced: {report['quantization']} breaks a bound.")
    return "\n".join(lines)


def _unbroken(form: str, parity: Mapping[str, Any]) -> str:
    """What is said where no bound is broken: that of dynamic and int8 is one on UAR."""
    tested = form in LARGEST_DIFFERENCE or parity["uar"] is not None
    return "kept" if tested else "not tested, for want of labels"
