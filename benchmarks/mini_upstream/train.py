"""Makes the small upstream that ships, `models/wav2vec2-mini`, and its form that knows RAVDESS.

    python -m benchmarks.mini_upstream.train --teacher openai/whisper-base --speech SPEECH \
        --ravdess RAVDESS --emodb EMODB --emovo EMOVO

The first learns to predict Whisper's lower layers on speech without labels. The second is the same
with an emotion head that learned RAVDESS; on the frozen encoder, or with the whole encoder trained,
whichever is better on RAVDESS's validation speakers; it ships once it reaches its aim, 75 % UAR on
the test speakers. Commit weights and cards together.
"""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.mini_upstream.card import make_upstream_card
from ser_nsl.corpora import SplitConfig, prepare_corpus
from ser_nsl.errors import InputError
from ser_nsl.evaluation import measure_upstream
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.steps import Step, run_steps
from ser_nsl.upstream import (
    DistillationConfig,
    FineTuningConfig,
    HeadConfig,
    distill_upstream,
    finetune_upstream,
    train_head,
)

FORMS = ENCODER, TUNED = "wav2vec2-mini", "wav2vec2-mini-ravdess"
# The one that ships had 8 epochs of two windows, and then, by `student`, 22 of three.
DISTILLATION = DistillationConfig(epochs=30, windows=3)
HEAD = HeadConfig()
FINETUNING = FineTuningConfig(epochs=10, learning_rate=1e-4, schedule="linear")
EMOBOX_FOLDS = range(6)
CLIP_SECONDS = 4.0


def train_mini_upstream(
    *,
    speech: Path,
    ravdess: Path,
    emodb: Path | None = None,
    emovo: Path | None = None,
    teacher: str = "openai/whisper-base",
    student: Path | None = None,
    whole: bool = True,
    work: Path = Path("runs/mini"),
    out: Path = Path("models"),
) -> str:
    """Makes the small upstream and its form that knows RAVDESS, measures them, writes their cards.

    Steps whose results are up to date are not run again.

    Args:
        speech: Folder of speech without labels.
        ravdess: Folder with the speech of RAVDESS.
        emodb: Folder with EmoDB, to measure on.
        emovo: Folder with EMOVO, to measure on.
        teacher: Folder or hub name of the large encoder.
        student: A finished result of `distill_upstream`, to be taken as it is.
        whole: Whether the whole encoder is trained on RAVDESS too, which takes most of the time;
            without, only the head on the frozen encoder is.
        work: Folder for all intermediate results.
        out: Folder for both models and their cards, which are replaced.

    Returns:
        The paths of the cards, in words.

    Raises:
        InputError: As the stages, or if the student is not finished.
    """
    if student is not None and read_record(student) is None:
        raise InputError(
            f"student: {student} is no finished result of ser-nsl distill-upstream; it has no "
            "stage.json. Let that finish, or leave --student out."
        )
    encoder = student or work / "student"
    source, manifests = work / "ravdess.csv", {}
    work.mkdir(parents=True, exist_ok=True)
    steps = []
    for name, folder in (("emodb", emodb), ("emovo", emovo)):
        if folder is not None:
            manifests[name] = work / f"{name}.csv"
            steps.append(_prepare_target(name, folder, manifests[name]))
    steps += _lessons(work, speech, ravdess, teacher, encoder, distil=student is None)
    ways = [work / "head", work / "finetuned"][: 1 + whole]
    if whole:
        arguments = {"manifest": source, "upstream": str(encoder), "out": ways[1]}
        steps.append(Step(finetune_upstream, arguments | {"config": FINETUNING}))
    run_steps(steps)
    best = max(ways, key=_val_uar)
    release, cards = work / "release", work / "cards"
    cards.mkdir(exist_ok=True)
    for made, name in ((encoder, ENCODER), (best, TUNED)):
        _write_halves(made, release / name)
    measures = work / "measures.json"
    arguments = {
        "upstream": str(release / ENCODER),
        "compare": (str(release / TUNED), teacher),
        "source": source,
        "targets": tuple(manifests.values()),
        "out": measures,
        "clip_seconds": CLIP_SECONDS,
    }
    run_steps([Step(measure_upstream, arguments)])
    facts = {"measures": measures, "machine": _describe_machine()}
    make_upstream_card(
        checkpoint=release / ENCODER,
        trained=[encoder],
        out=cards / f"{ENCODER}.md",
        tried=_tried(out / ENCODER),
        **facts,
    )
    make_upstream_card(
        checkpoint=release / TUNED,
        trained=[encoder, best],
        out=cards / f"{TUNED}.md",
        others=[way for way in ways if way != best],
        folds=[_fold(work, i) / "head" for i in EMOBOX_FOLDS],
        tried=_tried(out / TUNED),
        **facts,
    )
    for name in FORMS:  # only now, when all of them are there
        _publish([*(release / name).iterdir()], cards / f"{name}.md", out / name)
    return "\n".join(f"model card  {out / name / 'README.md'}" for name in FORMS)


def _lessons(
    work: Path, speech: Path, ravdess: Path, teacher: str, encoder: Path, *, distil: bool
) -> Iterator[Step]:
    """Yields what teaches: the encoder by its teacher, then heads on it, one a division."""
    if distil:
        arguments = {"speech": (speech,), "teacher": teacher, "out": encoder}
        yield Step(distill_upstream, arguments | {"config": DISTILLATION})
    divisions = {work: SplitConfig("paper")}
    divisions |= {_fold(work, i): SplitConfig("emobox", alternative=i) for i in EMOBOX_FOLDS}
    for folder, split in divisions.items():
        folder.mkdir(exist_ok=True)
        manifest = folder / "ravdess.csv"
        arguments = {"corpus": "ravdess", "audio_dir": ravdess, "out": manifest, "split": split}
        yield Step(prepare_corpus, arguments)
        arguments = {"manifest": manifest, "upstream": str(encoder), "out": folder / "head"}
        yield Step(train_head, arguments | {"config": HEAD})


def _fold(work: Path, number: int) -> Path:
    return work / f"fold{number}"


def _prepare_target(name: str, folder: Path, manifest: Path) -> Step:
    return Step(
        prepare_corpus,
        {
            "corpus": name,
            "audio_dir": folder,
            "out": manifest,
            "leave_out": ("boredom",) if name == "emodb" else (),  # RAVDESS has none
        },
    )


def _val_uar(made: Path) -> float:
    """UAR of the validation speakers, in percent, as the stage recorded it."""
    record = read_record(made)
    assert record is not None
    return float(record["counts"]["val_uar"].rstrip("%"))


def _write_halves(made: Path, out: Path) -> None:
    """Writes an upstream as float16, with its head beside it, in one form whatever trained it."""
    from ser_nsl.upstream.checkpoint import load_upstream, save_encoder

    upstream = load_upstream(str(made))
    out.mkdir(parents=True, exist_ok=True)
    save_encoder(upstream.encoder, out, half=True)
    if upstream.head is not None:
        upstream.head.save(out)


def _tried(folder: Path) -> Path | None:
    return folder / "TRIED.md" if (folder / "TRIED.md").exists() else None


def _publish(weights: list[Path], card: Path, out: Path) -> None:
    """Puts files into the folder of a model, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    for path, name in [*((path, path.name) for path in weights), (card, "README.md")]:
        partial = out / f".{name}.partial"
        shutil.copyfile(path, partial)
        partial.replace(out / name)


def _describe_machine() -> str:
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    return f"{os.cpu_count()} cores ({platform.machine()}), {gpus or 'no'} GPU"


if __name__ == "__main__":
    from ser_nsl.cli import run_function

    run_function(train_mini_upstream)
