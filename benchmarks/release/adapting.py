"""Measures what adapting to a speaker is worth, against the seconds of them that were heard.

    python -m benchmarks.release.adapting --release models/everyone \
        --table runs/four_emotions/table.csv --corpora corpora

Each validation speaker's clips are heard in random orders. A clip is learned before its answer is
adapted, as `ser-nsl predict --adapt` does it.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.release.release_models import RECORD_NAME
from ser_nsl.audio.clip import read_audio
from ser_nsl.cli import run_function
from ser_nsl.edge import Adaptation, Recognizer
from ser_nsl.evaluation.scores import score
from ser_nsl.pipeline.bars import Bar

_ORDERS = 20
_HEARD_SECONDS = (0, 10, 30, 60, np.inf)


def measure_adapting(*, release: Path, table: Path, corpora: Path) -> str:
    """Scores the files of a release on its validation speakers, as they are and adapted.

    Args:
        release: Folder of the release, with `release.json`.
        table: What `benchmarks.release.four_emotions` has written.
        corpora: Folder to which the table's paths belong.

    Returns:
        UAR (%) by file and seconds heard before the clip, of the same clips both ways.
    """
    record = json.loads((release / RECORD_NAME).read_text())
    clips = pd.read_csv(table)
    clips = clips[clips["speaker"].isin(record["speakers"]["val"])]
    lines = [f"{len(clips)} clips of {clips['speaker'].nunique()} speakers, {_ORDERS} orders"]
    for file in record["files"]:
        recognizer = Recognizer(release / file["file"])
        trials = pd.DataFrame(_trials(recognizer, clips, corpora))
        before = pd.cut(trials["before"], _HEARD_SECONDS, right=False)
        groups = [("all", trials), *trials.groupby(before, observed=True)]
        for heard, group in groups:
            shares = [100 * _uar(recognizer, group, way) for way in ("as_is", "adapted")]
            lines += [f"{file['file']}  {heard!s:13} {shares[0]:5.1f} {shares[1]:5.1f}"]
    return "\n".join(lines)


def _trials(recognizer: Recognizer, clips: pd.DataFrame, corpora: Path) -> list[dict]:
    """Returns both answers of each clip in each order, and the seconds heard before it."""
    rate, length = recognizer.sample_rate_hz, recognizer.clip_samples
    waveforms = [read_audio(corpora / path)[:length] for path in Bar(clips["path"], unit="clip")]
    heard = clips.assign(
        seconds=[len(waveform) / rate for waveform in waveforms],
        answer=[recognizer.predict(waveform, rate) for waveform in waveforms],
    )
    trials = []
    for order in range(_ORDERS):
        for _, own in heard.sample(frac=1, random_state=order).groupby("speaker"):
            adaptation = Adaptation(recognizer)
            for clip in own.itertuples():
                before = adaptation.seconds
                adaptation.learn(clip.answer, clip.seconds)
                answers = {"as_is": clip.answer, "adapted": adaptation.adapt(clip.answer)}
                tops = {way: max(answer, key=answer.get) for way, answer in answers.items()}
                trials.append({"emotion": clip.emotion, "before": before, **tops})
    return trials


def _uar(recognizer: Recognizer, trials: pd.DataFrame, way: str) -> float:
    index = {label: i for i, label in enumerate(recognizer.labels)}
    labels, found = (trials[column].map(index).to_numpy() for column in ("emotion", way))
    return score(labels, found, recognizer.labels)["uar"]


if __name__ == "__main__":
    run_function(measure_adapting)
