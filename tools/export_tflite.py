"""Makes one `.tflite` file of a trained model, for apps."""

from functools import wraps
from typing import Any

from ser_nsl.cli import run
from ser_nsl.export import export_tflite, report_table


@wraps(export_tflite)
def main(**arguments: Any) -> str:
    """Exports, and shows the report."""
    result = export_tflite(**arguments)
    return f"{report_table(result.out.parent)}\n\n{result}"


if __name__ == "__main__":
    run(main)
