"""Unfinished work of a stage: under another name, kept after a kill, renamed when it is done."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_nsl.pipeline.fingerprint import agrees, differing
from ser_nsl.pipeline.record import parse, record_beside
from ser_nsl.pipeline.swap import replace_folder


def make_partial(out: Path, makes: str, resumable: dict[str, Any] | None) -> Path:
    """Makes the place for unfinished work, on the same disk as the output.

    What a killed run has left there is removed, unless the stage can go on from it; a user who
    changed a setting by mistake should know why work starts again.

    Args:
        out: The output, links followed.
        makes: `file` or `folder`.
        resumable: Fingerprint of the stage, if it can go on from what a run with the same has left.

    Returns:
        An empty file or folder, or what that run has left.
    """
    partial = out.with_name(f".{out.stem}.partial{out.suffix}")
    if resumable and holds_work(partial):
        record = parse((partial / "stage.json").read_bytes())
        unfinished = record if isinstance(record, dict) else {}
        if agrees(unfinished, resumable) and "counts" not in unfinished:
            return partial
        if "counts" not in unfinished:  # else an output that was replaced
            others = ", ".join(differing(unfinished, resumable))
            print(f"{out}: starts again; unfinished work there had other {others}", flush=True)
    remove(partial)
    if makes == "folder":
        partial.mkdir()
        if resumable:
            (partial / "stage.json").write_text(json.dumps(resumable, indent=2))
    else:
        partial.touch()
    return partial


def holds_work(partial: Path) -> bool:
    """Returns whether there is anything to go on from."""
    return (partial / "stage.json").is_file() and len(list(partial.iterdir())) > 1


def publish(partial: Path, out: Path, record: Mapping[str, Any], makes: str) -> None:
    """Renames finished work to its output's name; a kill leaves the former output or the new one.

    Args:
        partial: The work.
        out: The output, links followed.
        record: Its record.
        makes: `file` or `folder`.
    """
    text = json.dumps(record, indent=2)
    if makes == "folder":
        (partial / "stage.json").write_text(text)
        replace_folder(partial, out)
        return
    beside = record_beside(out)
    whole, begun = (out.with_name(f".{out.name}.{name}") for name in ("record", "begun"))
    try:
        whole.write_text(text)
        # From here on no record vouches for another file: this one, cut off, says who made it.
        begun.write_text(json.dumps({"stage": record["stage"]}).rstrip("}"))
        begun.replace(beside)
        partial.replace(out)
        whole.replace(beside)
    finally:
        whole.unlink(missing_ok=True)
        begun.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Removes a file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
