import json
import shutil

import pytest

from ser_nsl.corpora.settings import CorpusConfig
from ser_nsl.edge import Recognizer
from ser_nsl.errors import InputError
from ser_nsl.export import release
from ser_nsl.export.forms import Exported
from ser_nsl.export.release import release_recognisers, write_cards
from ser_nsl.networks.saved import save_model
from ser_nsl.pipeline.experiment import Experiment
from ser_nsl.pipeline.settings import save_settings

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
    "command": "python tools/run_pipeline.py --config tiny",
    "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux"},
}


@pytest.fixture
def arguments(model, description, manifest, tmp_path, monkeypatch):
    """A finished run of one network, as far as a release reads it."""
    monkeypatch.setattr(release, "gather_facts", lambda run: FACTS)
    run = tmp_path / "run"
    (run / "models" / "cnn6-nsl-seed0").mkdir(parents=True)
    save_model(model, description, run / "models" / "cnn6-nsl-seed0")
    experiment = Experiment(
        name="tiny",
        title="Tiny",
        target=CorpusConfig("emodb", audio_dir=tmp_path),
        upstream="mini",
        finetuning=None,
        networks=("cnn6",),
        methods=("base", "nsl"),
        seeds=(0, 1),
        caution="Two speakers.",
    )
    save_settings(experiment, run / "experiment.yaml")
    (run / "target").mkdir()
    shutil.copy(manifest["manifest"], run / "target")
    record = {"paths": {"audio_dir": str(manifest["audio_dir"])}}
    (run / "target" / "manifest.csv.stage.json").write_text(json.dumps(record))
    (tmp_path / "bench").mkdir()
    rows = [
        {
            "network": "cnn6",
            "form": form,
            "threads": threads,
            "runtime": runtime,
            "median_ms": 0.25 if (threads, runtime) == (1, "ai_edge_litert") else 9.0,
        }
        for form in ("float16", "int8")
        for threads in (1, 2)
        for runtime in ("ai_edge_litert", "tflite_runtime")
    ]
    (tmp_path / "bench" / "benchmark.json").write_text(json.dumps({"rows": rows}))
    return {
        "run": run,
        "benchmark": tmp_path / "bench",
        "out": tmp_path / "models" / "tiny",
        "name": "Tiny recogniser",
    }


def test_files_and_card(arguments, description):
    result = release_recognisers(**arguments, author="Ada")
    out = arguments["out"]
    write_cards(out.parent)
    card = (out / "README.md").read_text()

    assert result.counts["files"] == 2
    for form in ("float16", "int8"):
        path = out / f"cnn6_{form}.tflite"
        assert Recognizer(path).labels == description.classes
        assert f"| [`{path.name}`]({path.name}) | cnn6 | {form} | " in card
    assert card.count("| 0.25 |") == 2
    assert "| cnn6 | 61.2 % ± 2.0 | 2 | 5 |" in card
    assert "3 trained it, 2 chose the epoch, 1 tested it" in card
    assert "Two speakers." in card
    assert "5 clips of EmoDB (without boredom)" in card
    assert "tiny (terms unknown)" in card
    assert "--model models/tiny/cnn6_int8.tflite" in card
    assert str(arguments["run"]) not in card + (out / "release.json").read_text()


def test_list_of_all_models(arguments):
    release_recognisers(**arguments)
    models = arguments["out"].parent
    (models / "upstream").mkdir()
    (models / "upstream" / "README.md").touch()

    write_cards(models)

    page = (models / "README.md").read_text()
    assert (
        "| [Tiny recogniser](tiny/README.md) | [`cnn6_int8.tflite`](tiny/cnn6_int8.tflite)" in page
    )
    assert page.rstrip().endswith("[upstream](upstream/README.md).")


def test_network_that_was_not_measured_is_refused(arguments):
    (arguments["benchmark"] / "benchmark.json").write_text('{"rows": []}')

    with pytest.raises(InputError, match="benchmark: knows no cnn6 in float16"):
        release_recognisers(**arguments)

    assert not arguments["out"].exists()


def test_missing_benchmark_is_named(arguments):
    (arguments["benchmark"] / "benchmark.json").unlink()

    with pytest.raises(InputError, match="holds no benchmark.json; run tools/benchmark_tflite.py"):
        release_recognisers(**arguments)


@pytest.fixture
def losing_int8(monkeypatch):
    """int8 loses more than its bound allows."""

    def make_forms(model_dir, card, *, training, tested):
        told = {"bytes": 9, "uar": 0.5, "keras_uar": 0.52, "label_agreement": 0.99}
        lost = ["the UAR is 2.0 points below Keras's, allowed is 0.5"]
        return {
            form: Exported(b"tflite", told | {"broken_bounds": lost if form == "int8" else []})
            for form in ("float16", "int8")
        }

    monkeypatch.setattr(release, "make_forms", make_forms)


def test_forced_form_is_told_on_the_card(arguments, losing_int8):
    release_recognisers(**arguments, force=True)
    write_cards(arguments["out"].parent)

    card = (arguments["out"] / "README.md").read_text()
    assert "Forced: of `cnn6_int8.tflite` the UAR is 2.0 points below Keras's" in card
    assert "(99.0 % of the labels are the same)" in card
    assert "of `cnn6_float16.tflite`" not in card


def test_form_that_loses_too_much_is_refused(arguments, losing_int8):
    with pytest.raises(InputError, match=r"as int8, the UAR is 2\.0 points .* or give --force"):
        release_recognisers(**arguments)
    assert not arguments["out"].exists()
