"""Tells the emotion of audio files with an exported recogniser; the base install is enough."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ser_nsl.audio import read_audio
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__} Prints for each file the most probable emotion and the "
        "probability of every one. Clips longer than the model's input are cut at the end, "
        "shorter ones repeated.",
        epilog="The exit status is 1 if a file cannot be used; the others are still shown.",
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="the .tflite file of tools/export_tflite.py"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of the runtime (default: 1)"
    )
    parser.add_argument(
        "files", metavar="FILE", type=Path, nargs="+", help="WAV, FLAC, OGG or MP3, any rate"
    )
    return parser.parse_args()


def predict(model: Path, files: Sequence[Path], *, threads: int) -> bool:
    """Prints a table row for each file, and a line of error for each that cannot be used.

    Args:
        model: The exported recogniser.
        files: Audio files.
        threads: Threads of the runtime.

    Returns:
        Whether every file could be used.

    Raises:
        InputError: If the recogniser cannot be opened.
    """
    recognizer = Recognizer(model, threads=threads)
    headers = ("file", "emotion", *recognizer.labels)
    widths = [
        max(len(str(file)) for file in (*files, "file")),
        max(len(label) for label in (*recognizer.labels, "emotion")),
        *(max(len(label), len("100.0%")) for label in recognizer.labels),
    ]
    complete, told = True, False
    for file in files:
        try:
            samples = read_audio(file, sample_rate_hz=recognizer.sample_rate_hz)
            probabilities = recognizer.predict(samples, recognizer.sample_rate_hz)
        except InputError as error:
            reason = str(error).removeprefix(f"{file}: ")
            print(f"error: {file}: {reason}", file=sys.stderr)
            complete = False
            continue
        if not told:
            print(aligned(headers, widths))
            told = True
        top = max(probabilities, key=probabilities.get)
        shares = (f"{probability:.1%}" for probability in probabilities.values())
        print(aligned((str(file), top, *shares), widths))
    return complete


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Joins the cells of a row: file and emotion to the left, numbers to the right."""
    texts = (cell.ljust(width) for cell, width in zip(cells[:2], widths[:2], strict=True))
    numbers = (cell.rjust(width) for cell, width in zip(cells[2:], widths[2:], strict=True))
    return "  ".join((*texts, *numbers))


if __name__ == "__main__":
    arguments = parse_arguments()
    try:
        sys.exit(not predict(arguments.model, arguments.files, threads=arguments.threads))
    except InputError as error:
        sys.exit(f"error: {error}")
