"""Trains the small upstream that ships, `models/wav2vec2-mini-ravdess`, and writes its card.

    python -m benchmarks.mini_upstream.train --ravdess RAVDESS --speech SPEECH \
        --emovo EMOVO --emodb EMODB

It takes about two hours on two cores. Commit weights and card together.
"""

import json
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.mini_upstream.card import make_upstream_card
from benchmarks.mini_upstream.make import make_upstream
from benchmarks.mini_upstream.pretrain import pretrain_upstream
from benchmarks.mini_upstream.settings import PretrainingConfig
from ser_nsl.corpora import SplitConfig, prepare_corpus
from ser_nsl.evaluation.upstream import measure_upstream
from ser_nsl.pipeline.steps import Step, run_steps
from ser_nsl.upstream import FineTuningConfig, finetune_upstream

SIZE = {"hidden_size": 192, "layers": 4, "channels": 64, "dropout": 0.1, "mask_share": 0.15}
PRETRAINING = PretrainingConfig(convolution_epochs=3, epochs=8)
ADAPTATION = PretrainingConfig(epochs=10, learning_rate=3e-4)
FINETUNING = FineTuningConfig(
    epochs=15,
    learning_rate=5e-4,
    schedule="linear",
    label_smoothing=0.1,
    statistics=1.0,
    augmentations=5,
    clip_seconds=4.0,
    keep="last",  # the validation speakers train too
)
TEST_SPEAKERS = ("01", "02", "07", "08", "17", "18")
"""Test speakers of arXiv 2210.14977."""

EMOBOX_FOLDS = (
    ("01", "11", "20", "21"),
    ("04", "10", "12", "14"),
    ("08", "09", "19", "23"),
    ("03", "05", "07", "24"),
    ("02", "15", "16", "18"),
    ("06", "13", "17", "22"),
)
"""Test speakers of each fold of the benchmark EmoBox (arXiv 2406.07162)."""

CHECKPOINT = ("config.json", "preprocessor_config.json", "model.safetensors")
_SPEAKERS = tuple(f"{i:02d}" for i in range(1, 25))


def train_mini_upstream(
    *,
    ravdess: Path,
    speech: Path,
    emovo: Path | None = None,
    emodb: Path | None = None,
    work: Path = Path("runs/mini"),
    out: Path = Path("models/wav2vec2-mini-ravdess"),
) -> str:
    """Trains the small upstream that ships, measures it and writes its card.

    Steps whose results are up to date are not run again.

    Args:
        ravdess: Folder with the speech of RAVDESS.
        speech: Folder with speech without labels, for pre-training.
        emovo: Folder with EMOVO, to measure on and to adapt to.
        emodb: Folder with EmoDB, to measure on and to adapt to.
        work: Folder for all intermediate results.
        out: Folder for the checkpoint and its card, which are replaced.

    Returns:
        The path of the card, in words.

    Raises:
        InputError: As the stages.
    """
    targets = {name: path for name, path in (("emovo", emovo), ("emodb", emodb)) if path}
    work.mkdir(parents=True, exist_ok=True)
    run_steps(list(_plan(work, ravdess, speech, targets)))
    release = work / "release" / out.resolve().name
    release.mkdir(parents=True, exist_ok=True)
    for name in CHECKPOINT:
        shutil.copyfile(work / "finetuned" / name, release / name)
    make_upstream_card(
        checkpoint=release,
        measures=work / "measures.json",
        trained=[work / "pretrained", work / "finetuned"],
        machine=_describe_machine(),
        folds=[work / f"fold{i}" / "measures.json" for i in range(len(EMOBOX_FOLDS))],
        adapted=[work / f"adapted-{name}" / "measures.json" for name in targets],
        tried=out / "TRIED.md" if (out / "TRIED.md").exists() else None,
        out=release / "README.md",
    )
    out.mkdir(parents=True, exist_ok=True)
    for name in (*CHECKPOINT, "README.md"):  # only now, when all of them are there
        partial = out / f".{name}.partial"
        shutil.copyfile(release / name, partial)
        partial.replace(out / name)
    return f"model card  {out / 'README.md'}"


def _describe_machine() -> str:
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    return f"{os.cpu_count()} cores ({platform.machine()}), {gpus or 'no'} GPU"


def _plan(work: Path, ravdess: Path, speech: Path, targets: dict[str, Path]) -> Iterator[Step]:
    random, pretrained, finetuned = (work / n for n in ("random", "pretrained", "finetuned"))
    yield Step(make_upstream, {"out": random, **SIZE})
    yield Step(
        pretrain_upstream,
        {"audio": (speech,), "upstream": str(random), "out": pretrained, "config": PRETRAINING},
    )
    source = work / "ravdess.csv"
    yield _prepare_ravdess(ravdess, TEST_SPEAKERS, source)
    yield _finetune(source, pretrained, finetuned)
    manifests = {}
    for name, folder in targets.items():
        manifests[name] = work / f"{name}.csv"
        yield Step(
            prepare_corpus,
            {
                "corpus": name,
                "audio_dir": folder,
                "out": manifests[name],
                "leave_out": ("boredom",) if name == "emodb" else (),  # RAVDESS has none
                "split": SplitConfig("speaker-independent", test_share=0.2),
            },
        )
    yield _measure(finetuned, source, tuple(manifests.values()), work / "measures.json")
    for name, manifest in manifests.items():
        folder = work / f"adapted-{name}"
        yield Step(
            pretrain_upstream,
            {
                "audio": (manifest, source),
                "upstream": str(finetuned),
                "out": folder / "pretrained",
                "config": ADAPTATION,
            },
        )
        yield _finetune(source, folder / "pretrained", folder / "finetuned")
        yield _measure(folder / "finetuned", source, (manifest,), folder / "measures.json")
    for i, test in enumerate(EMOBOX_FOLDS):
        folder = work / f"fold{i}"
        yield _prepare_ravdess(ravdess, test, folder / "ravdess.csv")
        yield _finetune(folder / "ravdess.csv", pretrained, folder / "finetuned")
        yield _measure(folder / "finetuned", folder / "ravdess.csv", (), folder / "measures.json")


def _prepare_ravdess(audio_dir: Path, test: tuple[str, ...], manifest: Path) -> Step:
    """Puts all speakers but the test speakers into the training split."""
    lists = manifest.with_name(f"ravdess-without-{'-'.join(test)}.json")
    lists.parent.mkdir(parents=True, exist_ok=True)
    train = [speaker for speaker in _SPEAKERS if speaker not in test]
    lists.write_text(json.dumps({"train": train, "val": [], "test": test}))
    return Step(
        prepare_corpus,
        {
            "corpus": "ravdess",
            "audio_dir": audio_dir,
            "out": manifest,
            "split": SplitConfig("lists", lists=lists),
        },
    )


def _finetune(manifest: Path, upstream: Path, out: Path) -> Step:
    return Step(
        finetune_upstream,
        {"manifest": manifest, "upstream": str(upstream), "out": out, "config": FINETUNING},
    )


def _measure(upstream: Path, source: Path, targets: tuple[Path, ...], out: Path) -> Step:
    return Step(
        measure_upstream,
        {
            "upstream": str(upstream),
            "source": source,
            "targets": targets,
            "out": out,
            "clip_seconds": FINETUNING.clip_seconds,
        },
    )


if __name__ == "__main__":
    from ser_nsl.cli import run_function

    run_function(train_mini_upstream)
