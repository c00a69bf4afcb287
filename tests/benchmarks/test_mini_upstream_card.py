"""A card made from measures whose figures can be checked by hand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from benchmarks.mini_upstream.card import make_upstream_card
from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_for_finetuning, load_upstream

NAME = "wav2vec2-tiny"
CLASSES = ("anger", "neutral")


@pytest.fixture(scope="module")
def root(small_upstream, tmp_path_factory) -> Path:
    """Holds `models/wav2vec2-tiny`, a checkpoint with a head."""
    root = tmp_path_factory.mktemp("card")
    model, extractor = load_for_finetuning(str(small_upstream), CLASSES)
    model.save_pretrained(root / "models" / NAME, safe_serialization=True)
    extractor.save_pretrained(root / "models" / NAME)
    return root


@pytest.fixture(scope="module")
def checkpoint(root) -> Path:
    return root / "models" / NAME


@pytest.fixture(scope="module")
def upstream(checkpoint) -> str:
    return load_upstream(str(checkpoint)).fingerprint(with_head=True)


def shares(upstream: float, mfcc: float) -> dict:
    """Shares among six neighbours as given, those among three and nine a point off."""
    by_count = {"upstream": upstream, "mfcc": mfcc, "untrained": 0.2}
    return {"chance": 0.15} | {
        kind: {"3": share + 0.01, "6": share, "9": share - 0.01} for kind, share in by_count.items()
    }


def target(upstream: float, mfcc: float) -> dict:
    return {
        "clips": 30,
        "speakers": 3,
        "emotions": 5,
        "other_speakers": shares(upstream, mfcc),
        "other_speakers_centered": shares(upstream + 0.05, mfcc + 0.02),
        "all_speakers": shares(upstream + 0.3, mfcc + 0.3),
    }


def measures(path: Path, upstream: str, *, uar: float = 0.5875, **targets: dict) -> Path:
    """Of eight test clips by two speakers."""
    source = {
        "corpus": "ravdess",
        "speakers": ["01", "02"],
        "clips": 8,
        "uar": uar,
        "accuracy": 0.625,
        "recall": {"anger": 0.75, "neutral": None},
        "confusion_matrix": [[3, 1], [2, 2]],
        "classes": list(CLASSES),
    }
    values = {"upstream": upstream, "clip_seconds": 0.3, "source": source, "targets": targets}
    path.write_text(json.dumps(values))
    return path


def trained(folder: Path, stage: str, seconds: float, settings: dict) -> Path:
    record = {
        "stage": stage,
        "version": "9.8.7",
        "settings": settings,
        "inputs": {},
        "paths": {},
        "versions": {"python": "3.11.0"},
        "counts": {"clips": 600, "dropped": [f"{folder}/secret.wav: is silent"]},
        "seconds": seconds,
    }
    folder.mkdir()
    (folder / "stage.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def arguments(checkpoint, upstream, tmp_path) -> dict:
    """What a card needs at least."""
    found = measures(
        tmp_path / "measures.json", upstream, emovo=target(0.21, 0.251), emodb=target(0.6, 0.56)
    )
    speech = {"speech": [str(tmp_path / "german"), str(tmp_path / "arabic")], "config": {"seed": 7}}
    return {
        "checkpoint": checkpoint,
        "measures": found,
        "trained": (
            trained(tmp_path / "pretrained", "pretrain_upstream", 18_720.0, speech),
            trained(tmp_path / "finetuned", "finetune_upstream", 95.4, {"config": {"epochs": 3}}),
        ),
        "machine": "two cores of a toaster",
        "out": tmp_path / "README.md",
    }


@pytest.fixture
def full_arguments(arguments, tmp_path) -> dict:
    """With all that a card can tell."""
    (tmp_path / "tried.md").write_text("- Larger batches: **no better**.\n")
    folds = [measures(tmp_path / f"fold{i}.json", "other", uar=0.5 + i / 10) for i in range(2)]
    adapted = measures(tmp_path / "adapted.json", "another", emovo=target(0.26, 0.251))
    return arguments | {"folds": folds, "adapted": (adapted,), "tried": tmp_path / "tried.md"}


def rows_of(page: str, name: str) -> list[list[str]]:
    """Cells of the tables' rows of that name."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in lines]


def test_targets_are_compared_with_the_measures(full_arguments):
    make_upstream_card(**full_arguments)
    page = full_arguments["out"].read_text()

    assert rows_of(page, "UAR, 2 test speakers of RAVDESS") == [
        ["58.8%", "above 60.0%", "**missed by 1.2 points**"]
    ]
    compared = {
        "EMOVO": ["21.0%", "above 25.1%, by MFCCs", "**missed by 4.1 points**"],
        "EmoDB": ["60.0%", "above 56.0%, by MFCCs", "**reached**"],
        "EMOVO, centred": ["26.0%", "above 27.1%, by MFCCs, centred", "**missed by 1.1 points**"],
        "EMOVO, adapted to it": ["26.0%", "above 25.1%, by MFCCs", "**reached**"],
    }
    for corpus, cells in compared.items():
        assert rows_of(page, f"neighbours of the same emotion, {corpus}") == [cells]
    shipped, _, adapted = page.partition("its weights are not in this folder; see")
    assert "adapted to it |" not in shipped
    assert "neighbours of the same emotion, EMOVO, adapted to it |" in adapted


def test_measures_stand_beside_their_baselines(full_arguments):
    make_upstream_card(**full_arguments)
    page = full_arguments["out"].read_text()

    assert rows_of(page, "this network, untrained") == [["21.0%", "20.0%", "19.0%"] * 3] * 2
    assert rows_of(page, "this model")[:2] == [
        ["22.0%", "21.0%", "20.0%", "27.0%", "26.0%", "25.0%", "52.0%", "51.0%", "50.0%"],
        ["61.0%", "60.0%", "59.0%", "66.0%", "65.0%", "64.0%", "91.0%", "90.0%", "89.0%"],
    ]
    assert rows_of(page, "adapted to it") == [
        ["27.0%", "26.0%", "25.0%", "32.0%", "31.0%", "30.0%", "57.0%", "56.0%", "55.0%"]
    ]
    assert rows_of(page, "chance") == [["15.0%"] * 9] * 2
    assert rows_of(page, "anger") == [["3", "1", "75.0%"]]
    assert rows_of(page, "neutral") == [["2", "2", "–"]]
    assert rows_of(page, "2 models fine-tuned from the same pre-training, mean") == [
        ["EmoBox's folds of RAVDESS", "55.0%", "62.5%"]
    ]


def test_training_is_described_without_folders_of_the_machine(full_arguments, tmp_path):
    make_upstream_card(**full_arguments)
    page = full_arguments["out"].read_text()

    assert "On two cores of a toaster, in this order:" in page
    assert "1. `pretrain_upstream`, 5 h 12 min" in page
    assert "    - Settings: `speech` german arabic, `config.seed` 7\n" in page
    assert "2. `finetune_upstream`, 95 s" in page
    assert page.count("    - Result: `clips` 600, `dropped` 1\n") == 2
    assert "Versions: ser_nsl 9.8.7, python 3.11.0.\n" in page
    assert "- Larger batches: **no better**." in page
    assert str(tmp_path) not in page and "secret" not in page


def test_front_matter_is_what_the_hub_reads(full_arguments):
    make_upstream_card(**full_arguments)
    data = ModelCard.load(full_arguments["out"]).data

    assert data.license == "cc-by-nc-sa-4.0"
    assert data.language == ["en", "de", "ar"]
    assert data.pipeline_tag == "audio-classification"
    assert data.model_name == NAME
    found = {(r.dataset_type, r.metric_name): r.metric_value for r in data.eval_results}
    similarity = "Same emotion among 6 neighbours by other speakers"
    assert found == {
        ("ravdess", "UAR"): 0.5875,
        ("ravdess", "Accuracy"): 0.625,
        ("emovo", similarity): 0.21,
        ("emodb", similarity): 0.6,
    }


def test_example_runs(arguments, root, monkeypatch):
    make_upstream_card(**arguments)
    (example,) = re.findall(r"```python\n(.*?)```", arguments["out"].read_text(), re.DOTALL)
    monkeypatch.chdir(root)
    waveforms = np.random.default_rng(0).normal(0, 0.1, (2, 4_800)).astype(np.float32)
    scope = {"waveforms": waveforms}

    exec(example, scope)

    assert scope["embeddings"].shape == (2, 256)
    np.testing.assert_allclose(np.sum(scope["probabilities"], axis=1), 1, rtol=1e-6)


def test_card_needs_neither_folds_nor_other_corpora(arguments, upstream, tmp_path):
    arguments["measures"] = measures(tmp_path / "source.json", upstream, uar=0.61)
    make_upstream_card(**arguments)
    page = arguments["out"].read_text()

    assert rows_of(page, "UAR, 2 test speakers of RAVDESS")[0][-1] == "**reached**"
    for absent in ("Fold by fold", "dapted", "MFCC", "Neighbours"):
        assert absent not in page


def test_tables_are_whole(full_arguments):
    """Every row has the cells that its table's head has, and nothing stands between rows."""
    make_upstream_card(**full_arguments)
    page = full_arguments["out"].read_text()
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)

    assert len(tables) == 7
    for table in tables:
        head, rule, *rows = table.splitlines()
        assert set(rule) <= set("|:-") and rows
        assert {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}, table
    assert "\n\n\n" not in page
    assert not re.search(r"[{}]|%\}|Undefined|None", page.partition("\n---\n")[2])


def test_input_that_does_not_fit_is_refused(full_arguments, tmp_path):
    other = measures(tmp_path / "other.json", "0123456789abcdef")
    two = measures(tmp_path / "two.json", "x", emovo=target(0.2, 0.2), emodb=target(0.2, 0.2))
    (tmp_path / "data.yaml").write_text("- name: one")
    for changes, message in (
        ({"measures": other}, "measures: .*other.json"),
        ({"trained": (tmp_path / "nothing",)}, "trained: .*nothing"),
        ({"adapted": (two,)}, "adapted: .*two.json"),
        ({"adapted": 2 * full_arguments["adapted"]}, "adapted: .*adapted.json"),
        ({"tried": tmp_path / "nothing.md"}, "tried: .*nothing.md"),
        ({"data": tmp_path / "data.yaml"}, "data: .*data.yaml"),
    ):
        with pytest.raises(InputError, match=message):
            make_upstream_card(**full_arguments | changes)
    assert not full_arguments["out"].exists()
