"""What an export made: `export_report.json` beside the file, and the same as a table."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tabulate import tabulate

from ser_nsl.export.settings import LARGEST_DIFFERENCE
from ser_nsl.pipeline.stage import Stage, StageResult

REPORT_NAME = "export_report.json"


@dataclass(frozen=True)
class ExportResult(StageResult):
    """The result of an export; printed, it shows all forms.

    Attributes:
        table: One line per form, then the input, the output and the operators of the file.
    """

    table: str = ""

    def __str__(self) -> str:
        return f"{self.table}\n\n{super().__str__()}"


def with_table(export: Stage) -> Stage:
    """Makes the export stage return an `ExportResult`."""

    @functools.wraps(cast(Callable, export))
    def run(**arguments: Any) -> ExportResult:
        result = export(**arguments)
        return ExportResult(**vars(result), table=_table(result.out.parent / REPORT_NAME))

    return cast(Stage, run)


def _table(path: Path) -> str:
    report = json.loads(path.read_text())
    rows = [
        (
            form,
            f"{values['bytes'] / 1e6:.2f}",
            f"{values['largest_difference']:.1e}",
            f"{values['mean_difference']:.1e}",
            f"{values['label_agreement']:.1%}",
            "–" if values["uar"] is None else f"{values['uar']:.1%}",
            "; ".join(values["broken_bounds"]) or _no_broken_bound(form, values),
        )
        for form, values in report["forms"].items()
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


def _no_broken_bound(form: str, values: Mapping[str, Any]) -> str:
    """The bounds of dynamic and int8 are on UAR, so they need labels."""
    tested = form in LARGEST_DIFFERENCE or values["uar"] is not None
    return "kept" if tested else "not tested (no labels)"
