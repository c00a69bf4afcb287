import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.release import release_models
from benchmarks.release.four_emotions import CORPORA, SPLITS
from benchmarks.release.release_models import release_recognisers, write_cards
from benchmarks.release.tensors import tensors
from ser_nsl.audio.features import Description
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.prepare import read_corpus
from ser_nsl.corpora.settings import CorpusConfig, SplitConfig
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export.forms import Exported
from ser_nsl.pipeline.experiment import Experiment
from ser_nsl.pipeline.settings import save_settings

MODELS = Path(__file__).parents[2] / "models"
FACTS = {
    "results": [
        {
            "network": "cnn6",
            "method": method,
            "uar_mean": mean,
            "uar_sd": 0.02,
            "seeds": [0, 1],
            "clips": 5,
        }
        for method, mean in (("base", 0.4), ("nsl", 0.612))
    ],
    "input": {"clip_seconds": 0.5},
    "classes": ["angry", "happy", "sad"],
    "target": {
        "clips": {"train": 5},
        "speakers": {"train": 3, "val": 2, "test": 1},
        "split": "speaker-independent, seed 0",
        "left_out": ["boredom"],
    },
    "upstream": {"name": "models/mini"},
    "command": "ser-nsl run-pipeline --config tiny",
    "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux"},
}
LABELS = ("angry", "happy", "sad", "no speech")
REPORT = {"bytes": 9, "temperature": 1.5, "uar": 0.52, "keras_uar": 0.52, "label_agreement": 0.99}

TENSORS = {
    "input": {
        "name": "sound",
        "shape": [1, 8000],
        "dtype": "float32",
        "range": [-1, 1],
        "sample_rate_hz": 16000,
    },
    "output": {"name": "shares", "shape": [1, 4], "dtype": "float32", "range": [0, 1]},
}
TRIAL = {
    "milliseconds": 0.25,
    "conditions": {
        "as recorded": {"uar": 0.52, "no_speech": 0.0},
        "-20 dB": {"uar": 0.5, "no_speech": 0.0},
        "white noise, 10 dB": {"uar": 0.38, "no_speech": 0.1},
    },
    "whole": {"as recorded": {"uar": 0.53, "no_speech": 0.0}},
    "calibration_error": 0.062,
    "answered": 0.7,
    "accuracy_answered": 0.8,
    "sounds": {"hum": 0.01},
}


@pytest.fixture
def broken_bounds() -> dict[str, list[str]]:
    """The bounds that each form breaks; tests may add some."""
    return {"float16": [], "int8": []}


@pytest.fixture
def arguments(tmp_path, monkeypatch, broken_bounds) -> dict:
    """A finished run of one network, as far as a release reads it."""
    run = tmp_path / "run"
    model_dir = run / "models" / "cnn6-nsl-seed0"
    model_dir.mkdir(parents=True)
    front_end = FrontEndConfig(mel_bins=2)
    Description(front_end, 8000, ("angry", "happy", "sad"), (0.0,) * 2, (1.0,) * 2).save(model_dir)
    save_settings(
        Experiment(
            name="tiny",
            title="Tiny",
            target=CorpusConfig("emodb", audio_dir=tmp_path),
            upstream="mini",
            finetuning=None,
            networks=("cnn6",),
            methods=("base", "nsl"),
            seeds=(0, 1),
            caution="Two speakers.",
        ),
        run / "experiment.yaml",
    )
    (run / "target").mkdir()
    lines = ["utterance_id,path,speaker,gender,emotion,split,duration_seconds,corpus"]
    for split in ("train", "test"):
        soundfile.write(tmp_path / f"{split}.wav", np.zeros(8_000), 16_000)
        lines.append(f"{split},{split}.wav,{split},female,angry,{split},0.5,tiny")
    (run / "target" / "manifest.csv").write_text("\n".join(lines) + "\n")
    record = {"stage": "prepare_corpus", "seconds": 1.0}
    record |= {"paths": {"audio_dir": str(tmp_path)}, "inputs": {"audio_dir": "a hash"}}
    record |= {"settings": {}, "versions": {}, "counts": {}}
    (run / "target" / "manifest.csv.stage.json").write_text(json.dumps(record))

    def make_forms(folder, card, *, training, judged, tested, speech):
        assert (folder, len(training), len(tested)) == (model_dir, 1, 1)
        content = f"{card.name} {card.version} by {card.author}".encode()
        return {
            form: Exported(content, LABELS, REPORT | {"broken_bounds": broken})
            for form, broken in broken_bounds.items()
        }

    monkeypatch.setattr(release_models, "make_forms", make_forms)
    monkeypatch.setattr(release_models, "try_out", lambda *file: TRIAL)
    monkeypatch.setattr(release_models, "tensors", lambda file: TENSORS)
    monkeypatch.setattr(release_models, "gather_facts", lambda run: FACTS)
    return {
        "run": run,
        "out": tmp_path / "models" / "tiny",
        "name": "Tiny recogniser",
    }


def test_files_card_and_list(arguments):
    result = release_recognisers(**arguments, author="Ada", licence="For Ada alone.")
    out = arguments["out"]
    (out.parent / "upstream").mkdir()
    (out.parent / "upstream" / "README.md").touch()
    write_cards(out.parent)

    card, page = ((folder / "README.md").read_text() for folder in (out, out.parent))
    assert result.counts == {"networks": 1, "files": 2, "bytes": 18}
    for form in ("float16", "int8"):
        path = out / f"cnn6_{form}.tflite"
        assert path.read_bytes() == b"Tiny recogniser 1 by Ada"
        assert f"| [`{path.name}`]({path.name}) | cnn6 | {form} | " in card
        file = f"[`{path.name}`](tiny/{path.name})"
        assert f"| [Tiny recogniser](tiny/README.md) | 1 | {file}" in page
    assert card.count("| 0.25 |") == page.count("| 0.25 |") == 2
    assert "| Input | `sound` | [1, 8000] | float32 | -1 to 1, 16000 Hz |" in card
    assert "| Output | `shares` | [1, 4] | float32 | 0 to 1 |" in card
    assert "| cnn6 | 61.2 % ± 2.0 | 2 | 5 |" in card
    assert "Speakers: 3 for training, 2 for choosing the epoch, 1 for testing" in card
    assert "| white noise, 10 dB | 38.0 % (10.0 %) | 38.0 % (10.0 %) |" in card
    assert "| as recorded; the whole file | 53.0 % (0.0 %) |" in card
    assert "cnn6_int8.tflite misses it under -20 dB (2.0 points)." in card
    assert "| cnn6_int8.tflite | 6.2 points | 70.0 % | 80.0 % |" in card
    assert "| hum | 1.0 % | 1.0 % |" in card
    assert "Two speakers." in card
    assert "5 clips of EmoDB (without boredom)" in card
    assert "For Ada alone." in card
    assert "--model models/tiny/cnn6_int8.tflite" in card
    assert str(arguments["run"]) not in card + (out / "release.json").read_text()
    assert "[upstream](upstream/README.md)" in page


def test_form_that_loses_too_much_must_be_forced(arguments, broken_bounds):
    broken_bounds["int8"].append("the UAR is 2.0 points lower")

    with pytest.raises(InputError, match=r"as int8, the UAR is 2\.0 points lower.*--force"):
        release_recognisers(**arguments)
    assert not arguments["out"].exists()

    release_recognisers(**arguments, force=True)
    write_cards(arguments["out"].parent)
    card = (arguments["out"] / "README.md").read_text()
    assert "Forced: in `cnn6_int8.tflite` the UAR is 2.0 points lower (99.0 %" in card
    assert "in `cnn6_float16.tflite`" not in card
    assert "tiny (terms unknown)" in card


@pytest.mark.parametrize(
    "path", [*MODELS.glob("*/release.json")], ids=lambda path: path.parent.name
)
def test_records_are_of_the_files_beside_them(path):
    record = json.loads(path.read_text())

    assert {file["file"] for file in record["files"]} == {
        file.name for file in path.parent.glob("*.tflite")
    }
    for file in record["files"]:
        recogniser = path.with_name(file["file"])
        assert file["sha256"] == hashlib.sha256(recogniser.read_bytes()).hexdigest()
        assert file["labels"] == [*Recognizer(recogniser).labels]
        assert {role: file[role] for role in ("input", "output")} == tensors(recogniser)
    splits = record["speakers"]
    assert {*splits} == {"train", "val", "test"}
    assert record["target"]["speakers"] == {split: len(names) for split, names in splits.items()}
    speakers = [name for names in splits.values() for name in names]
    assert len(speakers) == len({*speakers})


def test_committed_cards_are_what_the_code_writes(tmp_path):
    for path in (*MODELS.glob("*/README.md"), *MODELS.glob("*/release.json")):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / path.parent.name)
    released = [path.parent.name for path in tmp_path.glob("*/release.json")]

    write_cards(tmp_path)

    assert released
    for name in ("README.md", *(f"{folder}/README.md" for folder in released)):
        assert (tmp_path / name).read_text() == (MODELS / name).read_text(), name


def test_recipe_divides_speakers_as_released(shared_corpora):
    released = json.loads((MODELS / "everyone" / "release.json").read_text())["speakers"]
    found: dict[str, set[str]] = {"train": set(), "val": set(), "test": set()}
    for name in CORPORA:
        split = SPLITS.get(name, SplitConfig())
        rows = read_corpus(CorpusConfig(name, audio_dir=shared_corpora / name, split=split)).rows
        for part, clips in rows.groupby("split"):
            found[part] |= {f"{name}_{speaker}" for speaker in clips["speaker"]}

    assert {part: sorted(names) for part, names in found.items()} == released
