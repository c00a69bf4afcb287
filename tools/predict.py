"""Tells the emotion of audio with an exported recogniser; the base install is enough."""

import argparse
import contextlib
import io
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from ser_nsl.audio.clip import read_audio
from ser_nsl.edge import Recognizer
from ser_nsl.edge.clips import follow_clips, list_clips
from ser_nsl.edge.microphone import open_microphone
from ser_nsl.edge.rows import Row, as_csv, as_json, as_table
from ser_nsl.errors import InputError


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=f"{__doc__} A row holds the most probable emotion and the probability of every "
        "one. Clips longer than the model's input are cut at the end, shorter ones repeated.",
        epilog="The exit status is 1 if a file cannot be used; the others are still shown.",
    )
    parser.add_argument(
        "paths",
        metavar="PATH",
        type=Path,
        nargs="*",
        help="WAV, FLAC, OGG or MP3 file of any rate, or a folder of them",
    )
    parser.add_argument(
        "--model", type=Path, required=True, help="the .tflite file of tools/export_tflite.py"
    )
    parser.add_argument(
        "--format",
        choices=("table", "csv", "json"),
        default="table",
        help="json is one object a line (default: table)",
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of the runtime (default: 1)"
    )
    endless = parser.add_argument_group("without an end, until Ctrl-C")
    endless.add_argument(
        "--follow",
        action="store_true",
        help="go on with the clips that appear in the folders, each once it has not changed for a "
        "second",
    )
    endless.add_argument(
        "--microphone",
        action="store_true",
        help="listen to the microphone instead of files; needs the package sounddevice",
    )
    endless.add_argument(
        "--hop-seconds",
        type=float,
        default=0.5,
        help="with --microphone: time between two rows (default: 0.5)",
    )
    endless.add_argument(
        "--smoothing-seconds",
        type=float,
        default=1.0,
        help="with --microphone: age at which a former answer counts 1/e in the present one; 0 "
        "turns it off (default: 1)",
    )
    arguments = parser.parse_args()
    if arguments.microphone == bool(arguments.paths):
        parser.error("give either files and folders or --microphone")
    if arguments.follow and not any(path.is_dir() for path in arguments.paths):
        parser.error("--follow needs a folder")
    return arguments


def predict(arguments: argparse.Namespace) -> bool:
    """Prints a row for each clip or moment, and a line of error for each clip that cannot be used.

    Args:
        arguments: The command line.

    Returns:
        Whether every clip could be used.

    Raises:
        InputError: If the recogniser, a folder or the microphone cannot be used.
    """
    recognizer = Recognizer(arguments.model, threads=arguments.threads)
    failed: list[Path] = []
    width = 0
    if arguments.microphone:
        title = "seconds"
        rows = hear_microphone(recognizer, arguments.hop_seconds, arguments.smoothing_seconds)
    else:
        title = "file"
        if arguments.follow:
            folders = [path for path in arguments.paths if path.is_dir()]
            files = [path for path in arguments.paths if path not in folders]
            clips: Iterable[Path] = itertools.chain(files, follow_clips(folders))
        else:
            clips = list_clips(arguments.paths)
            width = max(len(str(clip)) for clip in clips)
        rows = hear_clips(recognizer, clips, failed)
    lines = {
        "table": as_table(rows, title, recognizer.labels, width=width),
        "csv": as_csv(rows, title, recognizer.labels),
        "json": as_json(rows, title),
    }[arguments.format]
    endless = arguments.follow or arguments.microphone
    with contextlib.suppress(*[KeyboardInterrupt] * endless):
        for line in lines:
            print(line, flush=True)
    return not failed


def hear_clips(recognizer: Recognizer, clips: Iterable[Path], failed: list[Path]) -> Iterator[Row]:
    """Hears files; tells of each that cannot be used, and adds it to `failed`."""
    for clip in clips:
        try:
            samples = read_audio(clip, sample_rate_hz=recognizer.sample_rate_hz)
            probabilities = recognizer.predict(samples, recognizer.sample_rate_hz)
        except InputError as error:
            reason = str(error).removeprefix(f"{clip}: ")
            print(f"error: {clip}: {reason}", file=sys.stderr)
            failed.append(clip)
        else:
            yield str(clip), probabilities


def hear_microphone(
    recognizer: Recognizer, hop_seconds: float, smoothing_seconds: float
) -> Iterator[Row]:
    """Hears the microphone, and tells what the user must know of it."""
    with open_microphone() as microphone:
        stream = recognizer.stream(
            microphone.sample_rate_hz,
            hop_seconds=hop_seconds,
            smoothing_seconds=smoothing_seconds,
        )
        print(
            f"listening to {microphone.name}, each row tells of the last "
            f"{stream.window_seconds:g} s; Ctrl-C ends",
            file=sys.stderr,
        )
        for samples, lost in microphone.chunks:
            if lost:
                print("warning: audio was lost; try a longer --hop-seconds", file=sys.stderr)
            for moment, probabilities in stream.feed(samples):
                yield round(moment, 3), probabilities


if __name__ == "__main__":
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be no valid text
    try:
        sys.exit(not predict(parse_arguments()))
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # as when `head` has seen enough; the exit must not write once more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
