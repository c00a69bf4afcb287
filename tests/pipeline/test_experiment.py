from dataclasses import FrozenInstanceError, replace
from importlib import resources
from pathlib import Path

import pytest

from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.corpora.settings import CorpusConfig, SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.graph.settings import GraphConfig
from ser_nsl.pipeline.experiment import Experiment, load_experiment
from ser_nsl.pipeline.settings import save_settings
from ser_nsl.training.settings import TrainingConfig
from ser_nsl.upstream.settings import UpstreamConfig

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


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_loads_by_name_and_names_its_command(path):
    experiment = load_experiment(path.stem)

    assert experiment.name == path.stem
    assert experiment.title
    assert f"python tools/run_pipeline.py --config {path.stem}\n" in path.read_text()


def test_the_configs_are_there():
    assert {path.stem for path in CONFIGS.iterdir()} >= {
        "smoke",
        "ravdess_to_emovo",
        "ravdess_to_emodb",
    }


def test_emovo_config_tests_on_m3():
    assert load_experiment("ravdess_to_emovo").target.split == SplitConfig(
        method="leave-one-speaker-out", fold=5
    )


def test_file_gives_values_and_defaults(mine):
    experiment = load_experiment(mine)

    assert experiment.source == CorpusConfig("emovo", Path("speech/emovo"))
    assert experiment.target.leave_out == ("boredom",)
    assert isinstance(experiment.target.audio_dir, Path)
    assert experiment.training == TrainingConfig()
    assert experiment.graph == GraphConfig(0.99, 2, 4, 12345, 3)


def test_defaults_are_the_papers():
    front_end, training, upstream = FrontEndConfig(), TrainingConfig(), UpstreamConfig()

    assert front_end == FrontEndConfig(16_000, 512, 256, 64, 0.0, 8_000.0)
    assert (training.epochs, training.batch_size, training.learning_rate) == (50, 16, 1e-3)
    assert (training.decay, training.decay_epochs) == (0.9, 5)
    assert (upstream.epochs, upstream.batch_size, upstream.learning_rate) == (20, 16, 3e-5)
    assert (upstream.clip_seconds, upstream.freeze_feature_encoder) == (4.0, True)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("training.epochs=5", lambda e: e.training.epochs == 5),
        ("seeds=[0,1,2]", lambda e: e.seeds == (0, 1, 2)),
        ("target.split.fold=3", lambda e: e.target.split.fold == 3),
        ("upstream=facebook/wav2vec2-base", lambda e: e.upstream == "facebook/wav2vec2-base"),
        ("clip_seconds=2.5", lambda e: e.clip_seconds == 2.5),
        ("target.leave_out=[]", lambda e: e.target.leave_out == ()),
        ("training.alpha=2", lambda e: e.training.alpha == 2.0),
        ("training.augmentation.time_masks=2", lambda e: e.training.augmentation.time_masks == 2),
        (
            "training.augmentation.noise_snr_db=5",
            lambda e: e.training.augmentation.noise_snr_db == 5.0,
        ),
        (f"training.schedule='{COSINE}'", lambda e: e.training.schedule == COSINE),
    ],
)
def test_override_changes_its_setting_and_nothing_else(override, expected, mine):
    changed = load_experiment(mine, [override])

    assert expected(changed)
    assert not expected(load_experiment(mine))
    assert changed.name == "mine"


def test_another_upstream_is_finetuned():
    shipped = load_experiment("ravdess_to_emodb")
    assert (shipped.upstream, shipped.finetuning) == ("models/wav2vec2-mini-ravdess", None)

    other = load_experiment(
        "ravdess_to_emodb", ["finetuning.epochs=2"], upstream="facebook/wav2vec2-base"
    )

    assert other.upstream == "facebook/wav2vec2-base"
    assert other.finetuning == UpstreamConfig(epochs=2)


def test_finetuning_needs_a_source_and_an_upstream_without_it_weights(mine):
    with pytest.raises(InputError, match="source must be given where there is finetuning"):
        load_experiment(mine, ["source=null"])
    with pytest.raises(InputError, match="upstream must be given where there is no finetuning"):
        load_experiment(mine, ["finetuning=null"])
    with pytest.raises(InputError, match="center must be one of .*'speaker', 'corpus'.; received"):
        load_experiment(mine, ["center=clip"])


def test_overrides_are_checked_together(mine):
    overrides = ["front_end.window_samples=1024", "front_end.hop_samples=600"]

    assert load_experiment(mine, overrides).front_end.hop_samples == 600
    with pytest.raises(InputError, match="hop_samples must be between 1 and window_samples"):
        load_experiment(mine, overrides[1:])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("nope=1", ["'nope'"]),
        ("training.epoch=3", ["'epoch'", "training.epoch"]),
        ("target.split.seeds=3", ["'seeds'", "target.split.seeds"]),
        ("training.epochs=many", ["training.epochs", "many"]),
        ("training.epochs", ["training.epochs"]),
        ("training.epochs=0", ["epochs must be at least 1; received 0"]),
        ("training.learning_rate=nan", ["learning_rate must be positive; received nan"]),
        ("training.decay=1.1", ["decay must be above 0 and at most 1; received 1.1"]),
        ("training.alpha=-1", ["alpha must be 0 or more; received -1"]),
        ("training.schedule=fast", ["schedule must be JSON of a Keras schedule", "'fast'"]),
        ("training.patience=-1", ["patience must be 0 or more; received -1"]),
        ("training.class_weights=all", ["class_weights must be one of", "balanced", "'all'"]),
        ("training.augmentation.time_shift_frames=-1", ["time_shift_frames must be 0 or more"]),
        ("training.augmentation.band_mask_width=0", ["band_mask_width must be at least 1"]),
        ("training.augmentation.noise_snr_db=nan", ["noise_snr_db must be finite; received nan"]),
        ("training.keep=all", ["keep must be one of", "best", "'all'"]),
        ("finetuning.clip_seconds=0", ["clip_seconds must be at least 0.1; received 0"]),
        ("front_end.high_hz=9000", ["low_hz, high_hz must be rising and at most half"]),
        ("front_end.low_hz=8000", ["low_hz, high_hz must be rising"]),
        ("front_end.mel_bins=0", ["mel_bins must be positive; received 0"]),
        ("graph.similarity_threshold=1.1", ["similarity_threshold must be a cosine", "1.1"]),
        ("graph.lsh_rounds=0", ["lsh_rounds must be at least 1; received 0"]),
        ("graph.similarity_threshold=auto", ["target_degree must be more than 0", "None"]),
        ("graph.target_degree=3", ["target_degree must be", "else absent; received 3"]),
        ("graph.builder=fast", ["builder must be one of", "exact", "'fast'"]),
        ("graph.edges=some", ["edges must be 'all' or 'nearest'; received 'some'"]),
        ("graph.packing=zip", ["packing must be one of", "indexed", "'zip'"]),
        ("graph.likeness=ears", ["likeness must be one of", "probe", "'ears'"]),
        ("graph.max_neighbors=0", ["max_neighbors must be at least 1; received 0"]),
        ("clip_seconds=0.03", ["clip_seconds must be one window or more; received 0.03"]),
        ("target.split.method=random", ["split.method: Invalid value 'random'", "'lists'"]),
        ("target.split.test_share=1", ["test_share must be between 0 and 1; received 1"]),
        ("target.split.fold=-1", ["fold must be 0 or more; received -1"]),
        ("methods=[base,nls]", ["methods must be some of", "nls"]),
        ("seeds=[1,1]", ["seeds must be one or more, all different; received (1, 1)"]),
        ("networks=[]", ["networks must be one or more"]),
        ("source.audio_dir=null", ["audio_dir must be given, or synthetic in its place"]),
        ("source.synthetic.speakers=4", ["audio_dir must be given, or synthetic"]),
        ("training.epochs=${nowhere}", ["nowhere"]),
        ("seeds=[1,2", ["expected"]),
    ],
)
def test_bad_override_names_the_file_and_the_rule(override, words, mine):
    with pytest.raises(InputError) as error:
        load_experiment(mine, [override])

    assert str(error.value).startswith("mine.yaml: ")
    assert "\n" not in str(error.value)
    assert "full_key" not in str(error.value)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "name"),
        ("- a\n- b\n", "container"),
        ("just words", "just words"),
        ("name: [1", "expected"),
        (MINIMAL + "traning: {epochs: 3}\n", "'traning'"),
        (MINIMAL.replace("name: mine", ""), "name"),
        (MINIMAL + "training: {epochs: -3}\n", "epochs must be at least 1; received -3"),
        (b"\xff\xfe\x00", "decode"),
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
    with pytest.raises(InputError, match=r"^config: .* neither a YAML file nor one of .*smoke"):
        load_experiment(name)


@pytest.mark.parametrize("name", ["smoke", "ravdess_to_emovo"])
def test_saved_experiment_loads_again(name, tmp_path):
    overrides = ["seeds=[3,4]", "target.split.lists=a/b.json", "front_end.low_hz=50"]
    experiment = load_experiment(name, overrides)
    save_settings(experiment, tmp_path / "saved.yaml")

    assert load_experiment(str(tmp_path / "saved.yaml")) == experiment
    assert "hop_samples: 256" in (tmp_path / "saved.yaml").read_text()


def test_experiments_are_frozen_and_checked_when_changed(mine):
    experiment = load_experiment(mine)

    assert isinstance(experiment, Experiment)
    with pytest.raises(FrozenInstanceError):
        experiment.name = "other"
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        replace(experiment.training, epochs=0)


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (511, 0), (512, 1), (767, 1), (768, 2), (95_744, 373)]
)
def test_frames_are_whole_windows(samples, frames):
    assert FrontEndConfig().frames(samples) == frames
