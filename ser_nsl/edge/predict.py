"""The command `ser-nsl predict`."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from ser_nsl.audio.decode import decode
from ser_nsl.edge.adaptation import Adaptation
from ser_nsl.edge.clips import follow_clips, list_clips
from ser_nsl.edge.microphone import open_microphone
from ser_nsl.edge.models import find_model_or_default
from ser_nsl.edge.recognizer import Recognizer
from ser_nsl.edge.rows import Row, as_csv, as_json, as_table
from ser_nsl.edge.window import NO_SPEECH, Window, average
from ser_nsl.errors import InputError, check_unused, printable

_HOP_SECONDS = 0.5
_SMOOTHING_SECONDS = 1.0


def predict(
    paths: tuple[Path, ...] = (),
    /,
    *,
    model: str | None = None,
    format: Literal["table", "csv", "json"] = "table",
    threads: int = 1,
    whole: bool = True,
    follow: bool = False,
    microphone: bool = False,
    hop_seconds: float = _HOP_SECONDS,
    smoothing_seconds: float = _SMOOTHING_SECONDS,
    adapt: Path | None = None,
) -> None:
    """Prints the emotion of each recording, and the probability of every label.

    Recordings are heard from start to end, in windows of the recogniser's length; a shorter one is
    repeated. Windows without speech are left out, and counted on standard error; a recording of
    such windows only is answered by "no speech", and one whose most probable emotion is more likely
    wrong than right, by "not sure".
    A file that cannot be used is named on standard error and the others are still shown; the exit
    status is then 1.

    Args:
        paths: Audio files of any sample rate (WAV, FLAC, OGG, Opus, MP3, AIFF ...; M4A, WebM and
            others where ffmpeg is on the PATH), or folders of them.
        model: Recogniser: path of a `.tflite` file, or a name listed by `ser-nsl models`; everyone
            by default.
        format: Form of the output; json prints one object per line.
        threads: Threads of the runtime.
        whole: Whether to print one row a recording, the mean over its windows, or one for each
            window, with its start and end in seconds.
        follow: Whether to wait for new clips in the folders, until Ctrl-C. A clip is read when it
            has not changed for a second.
        microphone: Whether to listen to the microphone instead of files, until Ctrl-C; needs the
            package sounddevice.
        hop_seconds: Time from one row to the next, with --microphone.
        smoothing_seconds: Age at which a prediction's weight has fallen to 1/e, with --microphone;
            0 turns smoothing off.
        adapt: Small file with how one speaker usually sounds, to whom the answers are adapted; it
            is read if it is there, learns all that is heard, without labels, and is written at the
            end, also after Ctrl-C. One for each speaker and recogniser; delete it to start anew.

    Raises:
        InputError: If the recogniser, a folder, the microphone or the file of the speaker cannot
            be used, or an option would be ignored.
        SystemExit: With status 1, after the last row, if a file or folder could not be used.
    """
    if microphone == bool(paths) or (microphone and follow):
        raise InputError("paths: give either audio files and folders, or --microphone alone.")
    if microphone:
        check_unused("with --microphone", whole=(whole, True))
    else:
        check_unused(
            "without --microphone",
            hop_seconds=(hop_seconds, _HOP_SECONDS),
            smoothing_seconds=(smoothing_seconds, _SMOOTHING_SECONDS),
        )
    recognizer = Recognizer(find_model_or_default(model), threads=threads)
    failed: list[Path] = []
    width = 0
    with _learning(adapt, recognizer) as adaptation:
        if microphone:
            rows = _predict_microphone(recognizer, hop_seconds, smoothing_seconds, adaptation)
        else:
            clips = follow_clips(paths) if follow else list_clips(paths, failed)
            if isinstance(clips, list):
                width = max((len(printable(str(clip))) for clip in clips), default=0)
            rows = _predict_clips(recognizer, clips, whole, adaptation, failed)
        lines = {"table": as_table(rows, width=width), "csv": as_csv(rows), "json": as_json(rows)}
        try:
            for line in lines[format]:
                print(line, flush=True)
        except KeyboardInterrupt:
            if not (follow or microphone):  # which have no other end
                raise
        except BrokenPipeError:  # `| head` has read enough; Python must not flush again at its exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
    if failed:
        sys.exit(1)


@contextlib.contextmanager
def _learning(path: Path | None, recognizer: Recognizer) -> Iterator[Adaptation | None]:
    """Yields what a file tells of its speaker; saves in the end what was learned, however it ends.

    None for no file.
    """
    if path is None:
        yield None
        return
    adaptation = Adaptation(recognizer)
    if path.exists():
        adaptation = Adaptation.load(path, recognizer)
    adaptation.save(path)  # what cannot be written is told before the work
    try:
        yield adaptation
    finally:
        adaptation.save(path)
        print(f"note: {path}: {adaptation.seconds:.1f} s of speech heard", file=sys.stderr)


def _predict_clips(
    recognizer: Recognizer,
    clips: Iterable[Path],
    whole: bool,
    adaptation: Adaptation | None,
    failed: list[Path],
) -> Iterator[Row]:
    """Yields rows for each clip; reports those that cannot be used, and adds them to `failed`."""
    for clip in clips:
        try:
            windows = recognizer.hear(*decode(clip), adaptation=adaptation)
        except InputError as error:
            reason = str(error).removeprefix(f"{clip}: ")
            print(f"error: {printable(f'{clip}: {reason}')}", file=sys.stderr)
            failed.append(clip)
        else:
            yield from _rows(clip, windows, recognizer, whole)


def _rows(
    clip: Path, windows: Sequence[Window], recognizer: Recognizer, whole: bool
) -> Iterator[Row]:
    """Yields the answer for a recording, or one for each window."""
    nothing = {label: float(label == NO_SPEECH) for label in recognizer.labels}
    if not whole:
        for start_seconds, end_seconds, probabilities in windows:
            keys: dict[str, str | float] = {
                "file": str(clip),
                "from": start_seconds,
                "to": end_seconds,
            }
            yield keys, recognizer.answer(probabilities), probabilities or nothing
        return
    mean = average(windows)
    yield {"file": str(clip)}, recognizer.answer(mean), mean or nothing
    without = sum(not window.has_speech for window in windows)
    if 0 < without < len(windows):
        note = f"{without} of {len(windows)} windows have no speech and are left out"
        print(f"note: {printable(f'{clip}: {note}')}", file=sys.stderr)


def _predict_microphone(
    recognizer: Recognizer,
    hop_seconds: float,
    smoothing_seconds: float,
    adaptation: Adaptation | None,
) -> Iterator[Row]:
    """Yields a row for each hop of the microphone, forever."""
    with open_microphone() as microphone:
        stream = recognizer.stream(
            microphone.sample_rate_hz,
            hop_seconds=hop_seconds,
            smoothing_seconds=smoothing_seconds,
            adaptation=adaptation,
        )
        covers = f"each row covers the last {stream.window_seconds:g} s"
        print(f"listening to {microphone.name}; {covers}; Ctrl-C ends", file=sys.stderr)
        for samples, lost in microphone.chunks:
            if lost:
                print("warning: audio was lost; try a longer --hop-seconds", file=sys.stderr)
            for time_seconds, probabilities in stream.feed(samples):
                keys: dict[str, str | float] = {"seconds": round(time_seconds, 3)}
                yield keys, recognizer.answer(probabilities), probabilities
