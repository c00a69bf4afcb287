"""Cards made from measures whose figures can be checked by hand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from benchmarks.mini_upstream.card import make_upstream_card
from ser_nsl.errors import InputError
from ser_nsl.upstream.checkpoint import load_upstream, save_encoder

ENCODER, TUNED = "wav2vec2-tiny", "wav2vec2-tiny-ravdess"
CLASSES = ("LABEL_0", "LABEL_1")  # of the random head


@pytest.fixture(scope="module")
def root(small_upstream, tmp_path_factory) -> Path:
    """Holds `models` with an encoder, and with the same and a head."""
    models = tmp_path_factory.mktemp("card") / "models"
    loaded = load_upstream(str(small_upstream))
    for name in (ENCODER, TUNED):
        (models / name).mkdir(parents=True)
        save_encoder(loaded.encoder, models / name)
    loaded.require_head().save(models / TUNED)
    return models.parent


def space(raw: float, centred: float) -> dict:
    by_label = {"all": raw, "quarter": raw - 0.1}
    by_speaker = {form: uar + 0.05 for form, uar in by_label.items()}
    return {
        "uar": {"raw": by_label, "by_speaker": by_speaker},
        "damaged": {"noise 20 dB": raw - 0.2, "8 kHz": raw - 0.3, "-20 dB": raw},
        "neighbors": {"raw": centred - 0.02, "centered": centred},
    }


def measures(path: Path, root: Path) -> Path:
    """EMOVO's targets are missed, EmoDB's are reached."""
    models = root / "models"
    layers, fc1 = f"{models / ENCODER}, layers 0+1", f"{models / TUNED}, FC1"
    loaded = load_upstream(str(models / TUNED))
    embeddings = {
        layers: f"{loaded.fingerprint(with_head=False)}:layers0+1:statistics",
        "untrained": "0123456789abcdef:layers0+1:statistics",
        fc1: f"{loaded.fingerprint(with_head=True)}:fc1",
        "/far/away/whisper, layers 2": "fedcba9876543210:layers2:statistics",
    }
    targets = {
        corpus: {
            "clips": 30,
            "speakers": 3,
            "emotions": 5,
            "chance": 0.15,
            "spaces": {
                "MFCC": space(0.4, 0.5),
                layers: space(uar, 0.56),
                "untrained": space(0.3, 0.2),
                fc1: space(uar + 0.01, 0.53),
                "/far/away/whisper, layers 2": space(0.9, 0.7),
            },
        }
        for corpus, uar in (("emodb", 0.81), ("emovo", 0.42))
    }
    source = {
        "corpus": "ravdess",
        "speakers": ["01", "02"],
        "clips": 8,
        "uar": 0.7375,
        "accuracy": 0.625,
        "recall": {"LABEL_0": 0.75, "LABEL_1": None},
        "confusion_matrix": [[3, 1], [2, 2]],
        "classes": list(CLASSES),
    }
    values = {
        "upstream": layers,
        "clip_seconds": 0.3,
        "embeddings": embeddings,
        "targets": targets,
        "source": {str(models / TUNED): source},
    }
    path.write_text(json.dumps(values))
    return path


def trained(folder: Path, stage: str, seconds: float, settings: dict, **counts) -> Path:
    record = {
        "stage": stage,
        "version": "9.8.7",
        "settings": settings,
        "inputs": {},
        "paths": {},
        "versions": {"python": "3.11.0"},
        "counts": {"clips": 600, "dropped": [f"{folder}/secret.wav: is silent"], **counts},
        "seconds": seconds,
    }
    folder.mkdir()
    (folder / "stage.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def encoder_arguments(root, tmp_path) -> dict:
    speech = {"speech": [str(tmp_path / "german"), str(tmp_path / "arabic")], "config": {"seed": 7}}
    return {
        "checkpoint": root / "models" / ENCODER,
        "measures": measures(tmp_path / "measures.json", root),
        "trained": [trained(tmp_path / "student", "distill_upstream", 18_720.0, speech)],
        "machine": "two cores of a toaster",
        "out": tmp_path / "README.md",
    }


@pytest.fixture
def arguments(encoder_arguments, root, tmp_path) -> dict:
    """Of the form with a head, with all that a card can tell."""
    (tmp_path / "tried.md").write_text("- Larger batches: **no better**.\n")
    head = trained(tmp_path / "head", "train_head", 95.4, {"config": {"epochs": 3}})
    folds = [
        trained(tmp_path / f"fold{i}", "train_head", 9, {}, val_uar="50.0%", test_uar=f"{i}1.0%")
        for i in (5, 7)
    ]
    return encoder_arguments | {
        "checkpoint": root / "models" / TUNED,
        "trained": [*encoder_arguments["trained"], head],
        "others": [trained(tmp_path / "tuned", "finetune_upstream", 3_000, {}, val_uar="33.0%")],
        "folds": folds,
        "tried": tmp_path / "tried.md",
    }


def rows_of(page: str, name: str) -> list[list[str]]:
    """Cells of the tables' rows of that name."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {name} |")]
    return [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in lines]


def test_targets_are_compared_with_the_measures(arguments, encoder_arguments):
    make_upstream_card(**arguments)
    page = arguments["out"].read_text()
    linear, near = "UAR of a linear classifier", "six nearest by others with one emotion, centred"

    assert rows_of(page, "UAR, 2 test speakers of RAVDESS") == [
        ["73.8%", "75.0%", "**missed by 1.2 points**"]
    ]
    assert rows_of(page, f"{linear}, EmoDB") == [["82.0%", "80.0%", "**reached**"]]
    assert rows_of(page, f"{linear}, EMOVO") == [["43.0%", "45.0%", "**missed by 2.0 points**"]]
    assert rows_of(page, f"{near}, EmoDB (MFCC + 5 points)") == [
        ["53.0%", "55.0%", "**missed by 2.0 points**"]
    ]

    make_upstream_card(**encoder_arguments)
    page = encoder_arguments["out"].read_text()
    assert not rows_of(page, "UAR, 2 test speakers of RAVDESS")
    assert rows_of(page, f"{linear}, EmoDB") == [["81.0%", "80.0%", "**reached**"]]
    assert rows_of(page, f"{near}, EMOVO (MFCC + 5 points)") == [["56.0%", "55.0%", "**reached**"]]


def test_measures_stand_side_by_side(arguments):
    make_upstream_card(**arguments)
    page = arguments["out"].read_text()

    emodb, emovo = rows_of(page, f"**{TUNED}, FC1**")
    assert emodb == [
        "82.0%", "72.0%", "87.0%", "77.0%", "62.0%", "52.0%", "82.0%", "51.0%", "53.0%",
    ]  # fmt: skip
    assert emovo[0] == "43.0%"
    for name in ("MFCC", "untrained", f"{ENCODER}, layers 0+1", "whisper, layers 2"):
        assert len(rows_of(page, name)) == 2, name
    assert rows_of(page, "LABEL_0") == [["3", "1", "75.0%"]]
    assert rows_of(page, "LABEL_1") == [["2", "2", "–"]]
    assert rows_of(page, "2 heads on the same frozen encoder, mean") == [
        ["EmoBox's folds of RAVDESS", "61.0%", ""]
    ]
    assert "Fold by fold, UAR: 51.0%, 71.0%." in page


def test_training_is_described_without_folders_of_the_machine(arguments, root, tmp_path):
    make_upstream_card(**arguments)
    page = arguments["out"].read_text()

    assert "On two cores of a toaster, in this order:" in page
    assert "1. `distill_upstream`, 5 h 12 min" in page
    assert "    - Settings: `speech` german arabic, `config.seed` 7\n" in page
    assert "2. `train_head`, 95 s" in page
    assert "    - Result: `clips` 600, `dropped` 1\n" in page
    assert "was no better: `finetune_upstream`, 50 min\n" in page and "`val_uar` 33.0%" in page
    assert "Versions: ser_nsl 9.8.7, python 3.11.0.\n" in page
    assert "- Larger batches: **no better**." in page
    for secret in (str(tmp_path), str(root), "/far/away", "secret"):
        assert secret not in page


def test_front_matter_is_what_the_hub_reads(arguments, encoder_arguments):
    make_upstream_card(**arguments)
    data = ModelCard.load(arguments["out"]).data

    assert data.license == "cc-by-nc-sa-4.0"
    assert data.pipeline_tag == "audio-classification"
    assert data.model_name == TUNED
    found = {(r.dataset_type, r.metric_name): r.metric_value for r in data.eval_results}
    assert found == {
        ("ravdess", "UAR"): 0.7375,
        ("ravdess", "Accuracy"): 0.625,
        ("emodb", "UAR"): pytest.approx(0.82),
        ("emovo", "UAR"): pytest.approx(0.43),
    }

    make_upstream_card(**encoder_arguments)
    data = ModelCard.load(encoder_arguments["out"]).data
    assert (data.license, data.pipeline_tag) == ("mit", "feature-extraction")
    assert data.language == ["en", "de", "ar"]


def test_what_taught_the_head_only_is_not_named_without_it(arguments, encoder_arguments):
    make_upstream_card(**arguments)
    assert rows_of(arguments["out"].read_text(), "RAVDESS speech, training and validation speakers")

    make_upstream_card(**encoder_arguments)
    page = encoder_arguments["out"].read_text()
    assert not rows_of(page, "RAVDESS speech, training and validation speakers")
    assert "CC BY-NC-SA" not in page
    assert rows_of(page, "kerstin_de")


@pytest.mark.parametrize(("form", "width"), [(ENCODER, 64), (TUNED, 256)])
def test_example_runs(form, width, arguments, encoder_arguments, root, monkeypatch):
    chosen = arguments if form == TUNED else encoder_arguments
    make_upstream_card(**chosen)
    (example,) = re.findall(r"```python\n(.*?)```", chosen["out"].read_text(), re.DOTALL)
    monkeypatch.chdir(root)
    waveforms = np.random.default_rng(0).normal(0, 0.1, (2, 4_800)).astype(np.float32)
    scope = {"waveforms": waveforms}

    exec(example, scope)

    assert scope["embeddings"].shape == (2, width)
    if form == TUNED:
        np.testing.assert_allclose(np.sum(scope["probabilities"], axis=1), 1, rtol=1e-6)


def test_pages_are_whole(arguments, encoder_arguments):
    """Every row has the cells that its table's head has, and nothing stands between rows."""
    for given, count in ((arguments, 6), (encoder_arguments, 4)):
        make_upstream_card(**given)
        page = given["out"].read_text()
        tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)

        assert len(tables) == count
        for table in tables:
            head, rule, *rows = table.splitlines()
            assert set(rule) <= set("|:-") and rows
            assert {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}, table
        assert "\n\n\n" not in page
        assert not re.search(r"[{}]|%\}|Undefined|None", page.partition("\n---\n")[2])


def test_input_that_does_not_fit_is_refused(arguments, root, tmp_path):
    other = json.loads(arguments["measures"].read_text())
    own = next(space for space in other["embeddings"] if space.endswith("FC1"))
    other["embeddings"][own] = "0123456789abcdef:fc1"
    (tmp_path / "other.json").write_text(json.dumps(other))
    for kind in ("embeddings", "source"):
        other[kind] = {name: each for name, each in other[kind].items() if TUNED not in name}
    (tmp_path / "absent.json").write_text(json.dumps(other))
    (tmp_path / "data.yaml").write_text("teacher: {name: one}\ncorpora: []")
    for changes, message in (
        ({"measures": tmp_path / "other.json"}, "measures: .*other.json measured another"),
        ({"measures": tmp_path / "absent.json"}, f"measures: {TUNED} is not among"),
        ({"trained": (tmp_path / "nothing",)}, "trained: .*nothing"),
        ({"tried": tmp_path / "nothing.md"}, "tried: .*nothing.md"),
        ({"data": tmp_path / "data.yaml"}, r"data: .*data.yaml lacks \['citation', 'licence'\]"),
    ):
        with pytest.raises(InputError, match=message):
            make_upstream_card(**arguments | changes)
    assert not arguments["out"].exists()
