"""Settings of experiments, from YAML files, and what those of sweeps share with them."""

from dataclasses import FrozenInstanceError, replace
from functools import partial
from importlib import resources
from pathlib import Path

import pytest
import yaml

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.settings import CorpusConfig, SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.commands import run_pipeline, sweep
from ser_nsl.pipeline.experiment import load_experiment
from ser_nsl.pipeline.settings import save_settings
from ser_nsl.pipeline.sweep_config import load_sweep
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.upstream.settings import FineTuningConfig, HeadConfig

CONFIGS = Path(str(resources.files("ser_nsl.pipeline") / "configs"))
MINIMAL = """
name: mine
title: My experiment
source: {corpus: emovo, audio_dir: speech/emovo}
target: {corpus: emodb, audio_dir: speech/emodb, leave_out: [boredom]}
"""
COSINE = '{"class_name": "CosineDecay", "config": {"initial_learning_rate": 0.1, "decay_steps": 9}}'


@pytest.fixture
def mine(tmp_path) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    return str(path)


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_loads_by_name_and_names_its_command(path):
    is_sweep = path.parent.name == "sweeps"
    loaded = load_sweep(path.stem) if is_sweep else load_experiment(path.stem)
    command = "sweep" if is_sweep else "run-pipeline"

    assert (loaded.name, bool(loaded.title)) == (path.stem, True)
    assert f"ser-nsl {command} --config {path.stem}" in path.read_text()


def test_file_gives_values_and_defaults(mine):
    experiment = load_experiment(mine)

    assert experiment.source == CorpusConfig("emovo", Path("speech/emovo"))
    assert experiment.target.leave_out == ("boredom",)
    assert isinstance(experiment.target.audio_dir, Path)
    assert experiment.training == TrainingConfig()
    assert experiment.graph == GraphConfig(0.99, 2, 4, 12345, 3)


def test_defaults_are_the_papers():
    front_end, training, upstream = FrontEndConfig(), TrainingConfig(), FineTuningConfig()

    assert front_end == FrontEndConfig(16_000, 512, 256, 64, 0.0, 8_000.0)
    assert (training.epochs, training.batch_size, training.learning_rate) == (50, 16, 1e-3)
    assert (training.decay, training.decay_epochs) == (0.9, 5)
    assert (upstream.epochs, upstream.batch_size, upstream.learning_rate) == (20, 16, 3e-5)
    assert (upstream.clip_seconds, upstream.freeze_feature_encoder) == (4.0, True)


def test_defaults_of_training_are_those_that_the_sweeps_support():
    training, graphs = TrainingConfig(), load_sweep("emodb").grids["small_graphs"]

    assert (training.alpha,) == graphs.alpha
    assert (training.layer,) == graphs.layers
    assert (training.distance,) == graphs.distances
    assert (training.neighbors,) == graphs.neighbors


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.epochs=5", lambda e: e.training.epochs == 5),
        ("seeds=[0,1,2]", lambda e: e.seeds == (0, 1, 2)),
        ("target.split.seed=3", lambda e: e.target.split.seed == 3),
        ("upstream=facebook/wav2vec2-base", lambda e: e.upstream == "facebook/wav2vec2-base"),
        ("target.leave_out=[]", lambda e: e.target.leave_out == ()),
        ("training.alpha=2", lambda e: e.training.alpha == 2.0),
        (
            "training.augmentation.time_shift_frames=5",
            lambda e: e.training.augmentation.time_shift_frames == 5,
        ),
        (f"training.schedule='{COSINE}'", lambda e: e.training.schedule == COSINE),
    ],
)
def test_override_changes_its_setting_and_nothing_else(override, expected, mine):
    changed = load_experiment(mine, [override])

    assert expected(changed)
    assert not expected(load_experiment(mine))
    assert changed.name == "mine"


def test_another_upstream_is_read_by_layers_or_learns_as_the_file_says():
    shipped = load_experiment("ravdess_to_emodb")
    assert (shipped.upstream, shipped.layers) == ("models/whisper-base-lower", (2, 3))

    def other(*overrides, config="ravdess_to_emodb"):
        found = load_experiment(config, overrides, upstream="openai/whisper-base")
        assert found.upstream == "openai/whisper-base"
        return found.finetuning, found.head

    assert other() == (None, None)
    assert other("layers=[]") == (None, HeadConfig())
    assert other("layers=[]", "head.layers=[2,3]") == (None, HeadConfig(layers=(2, 3)))
    assert other("finetuning.epochs=2") == (FineTuningConfig(epochs=2), None)
    demos = load_experiment("ravdess_to_demos")
    assert other(config="ravdess_to_demos") == (demos.finetuning, None)


@pytest.mark.parametrize(
    ("command", "shipped", "saved"),
    [(run_pipeline, "smoke", "experiment.yaml"), (sweep, "sweeps/emodb", "sweep.yaml")],
)
def test_a_file_of_the_user_s_is_not_replaced_by_what_was_read_from_it(
    command, shipped, saved, tmp_path
):
    own = tmp_path / saved
    own.write_text((CONFIGS / f"{shipped}.yaml").read_text())
    read = partial(command, config=str(own), dry_run=True)
    assert read(out=tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"config: .*{saved} .* would replace it; move it"):
        read(out=tmp_path)

    load = load_sweep if command is sweep else load_experiment
    save_settings(load(str(own)), own)
    assert read(out=tmp_path)


def test_empty_mapping_empties_what_the_file_has():
    assert load_experiment("ravdess_to_emodb").starts
    assert load_experiment("ravdess_to_emodb", ["starts={}"]).starts == {}


def test_overrides_are_checked_together(mine):
    overrides = ["front_end.window_samples=1024", "front_end.hop_samples=600"]

    assert load_experiment(mine, overrides).front_end.hop_samples == 600
    with pytest.raises(InputError, match="hop_samples"):
        load_experiment(mine, overrides[1:])
    with pytest.raises(InputError, match=r"set: .* twice .*front_end\.hop_samples"):
        load_experiment(mine, [*overrides, "front_end.hop_samples=500"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ("nope=1", ["'nope'", "known are", "networks"]),
        ("epochs=3", ["'epochs'", "did you mean", "training.epochs"]),
        ("seeds=[a]", ["seeds", "['a']"]),
        ("seeds=[0,-1]", ["seeds", "-1"]),
        ("target.split.seed=-1", ["target.split.seed", "-1"]),
        ("training.seed=4294967296", ["training.seed", "4294967296"]),
        ("seeds=3", ["seeds: must be a list", "3"]),
        ("training=5", ["training", "5"]),
        ("training.epoch=3", ["'epoch'", "training.epoch"]),
        ("target.split.seeds=3", ["'seeds'", "target.split.seeds", "did you mean", "split.seed"]),
        ("target.split.x=3", ["'x' is no setting", "known are method, seed, "]),
        ("training.epochs=many", ["training.epochs", "many"]),
        ("training.epochs", ["training.epochs"]),
        ("training.epochs=0", ["epochs", "0"]),
        ("training.schedule=fast", ["schedule", "'fast'"]),
        ("training.augmentation.time_masks=-1", ["time_masks", "-1"]),
        ("finetuning.clip_seconds=0", ["clip_seconds", "0"]),
        ("front_end.mel_bins=0", ["mel_bins", "0"]),
        ("graph.similarity_threshold=auto", ["target_degree", "None"]),
        ("graph.embeddings=ears", ["embeddings", "probe", "'ears'"]),
        ("clip_seconds=0.03", ["clip_seconds", "0.03"]),
        ("target.split.method=random", ["split.method", "'random'", "'lists'"]),
        ("methods=[base,nls]", ["methods", "nls"]),
        ("seeds=[1,1]", ["seeds", "(1, 1)"]),
        ("networks=[]", ["networks"]),
        ("target.audio_dir=mine/a speech=[mine]", ["speech", "must not hold", "mine/a"]),
        ("center=corpus", ["center", "'corpus'"]),
        ("source=null finetuning.epochs=3", ["source", "finetuning", "None"]),
        ("source=null head.epochs=3", ["source", "head", "None"]),
        ("finetuning.epochs=3 head.epochs=3", ["head must be null", "finetuning"]),
        ("head.pooling=max", ["pooling", "'max'"]),
        ("graph.embeddings=probe training.label_share=0.5 seeds=[0,1]", ["seeds", "(0, 1)"]),
        ("source.audio_dir=null", ["audio_dir", "synthetic"]),
        ("training.epochs=${nowhere}", ["nowhere"]),
        ("seeds=[1,2", ["expected"]),
    ],
)
def test_bad_override_names_the_file_the_key_and_the_value(overrides, words, mine):
    with pytest.raises(InputError) as error:
        load_experiment(mine, overrides.split())

    assert str(error.value).startswith("mine.yaml: ")
    assert "\n" not in str(error.value)
    assert "full_key" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "name"),
        ("- a\n- b\n", "KEY: VALUE"),
        ("just words", "just words"),
        ("name: [1", "expected"),
        ("name: " + "[" * 5000 + "]" * 5000, "recursion"),
        (MINIMAL + "traning: {epochs: 3}\n", "'traning'"),
        (MINIMAL.replace("name: mine", ""), "name"),
        (b"\xff\xfe\x00", "at byte 0); save it in UTF-8"),
    ],
)
def test_bad_file_is_an_error_that_names_it(text, word, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(InputError, match=r"^bad\.yaml: ") as error:
        load_experiment(str(path))

    assert word in str(error.value)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.yaml", "", "folder/smoke"])
def test_unknown_config_is_an_error_that_names_the_known_ones(name):
    with pytest.raises(InputError, match=r"^config: .*smoke"):
        load_experiment(name)
    with pytest.raises(InputError, match=r"^config: .*emodb"):
        load_sweep(name)


def test_saved_settings_load_again(tmp_path):
    overrides = ["seeds=[3,4]", "target.split.test_share=0.5", "front_end.low_hz=50"]
    overrides += ["target.table=a/b.csv"]
    experiment, sweep = load_experiment("ravdess_to_emovo", overrides), load_sweep("paper_emodb")
    save_settings(experiment, tmp_path / "run.yaml")
    save_settings(sweep, tmp_path / "sweep.yaml")

    assert load_experiment(str(tmp_path / "run.yaml")) == experiment
    assert load_sweep(str(tmp_path / "sweep.yaml")) == sweep
    assert "hop_samples: 256" in (tmp_path / "run.yaml").read_text()
    for name in ("run", "sweep"):
        assert yaml.safe_load((tmp_path / f"{name}.yaml").read_text())  # no code of Python


def test_experiments_are_frozen_and_checked_when_changed(mine):
    experiment = load_experiment(mine)

    with pytest.raises(FrozenInstanceError):
        experiment.name = "other"
    with pytest.raises(ValueError, match="epochs"):
        replace(experiment.training, epochs=0)


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (511, 0), (512, 1), (767, 1), (768, 2), (95_744, 373)]
)
def test_frames_are_whole_windows(samples, frames):
    assert FrontEndConfig().frames(samples) == frames


def test_emovo_config_tests_on_m3():
    assert load_experiment("ravdess_to_emovo").target.split == SplitConfig(
        method="leave-one-speaker-out", fold=5
    )


@pytest.mark.parametrize(
    "value", ["${oc.env:HOME}", "a ${oc.decode:${oc.env:HOME}}", "${${x}:HOME}", "${title}"]
)
@pytest.mark.parametrize("place", ["file", "override", "key"])
def test_configurations_read_no_environment_variables(value, place, tmp_path):
    path = tmp_path / "mine.yaml"
    text = (CONFIGS / "smoke.yaml").read_text()
    changed = {"file": f"caution: '{value}'\n", "key": f"'{value}': 1\n"}.get(place, "")
    path.write_text(text.replace("caution:", "# ") + changed)

    with pytest.raises(InputError, match=r"mine\.yaml: .*plain text, without \$\{"):
        load_experiment(str(path), [f"caution={value}"] if place == "override" else [])


@pytest.mark.parametrize("name", ["../../evil", "", ".", "..", ".hidden", "a/b", "-x", "x" * 101])
def test_name_is_that_of_a_folder(name):
    for load, config in ((load_experiment, "smoke"), (load_sweep, "emodb")):
        with pytest.raises(InputError, match=r"name must be the name of a folder"):
            load(config, [f"name='{name}'"])


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "-1", "0", "1e9"])
def test_length_of_clips_is_finite_and_positive(value):
    with pytest.raises(InputError, match="clip_seconds:? must be"):
        load_experiment("smoke", [f"clip_seconds={value}"])


def test_settings_that_are_no_mapping_are_an_error(tmp_path):
    (tmp_path / "mine.yaml").write_text("5")

    with pytest.raises(InputError, match=r"mine\.yaml: "):
        load_experiment(str(tmp_path / "mine.yaml"))
