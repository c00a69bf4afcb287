import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from ser_nsl.audio import features
from ser_nsl.audio.clip import fit_length, read_audio
from ser_nsl.audio.features import Description, extract_features
from ser_nsl.audio.records import parsed, read_labels
from ser_nsl.audio.resplit import resplit_records
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.audio.shards import shard_paths
from ser_nsl.corpora import prepare_corpus
from ser_nsl.corpora.manifest import read_manifest, write_manifest
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import is_current

SPLITS = ("train", "val", "test")
CLASSES = ["anger", "neutral", "sadness"]
SECONDS = 0.4


def expected_logmel(path: Path, samples: int) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=fit_length(read_audio(path), samples),
        sr=16_000,
        n_fft=512,
        hop_length=256,
        n_mels=64,
        center=False,
    )
    of_frames = power.mean(axis=0)
    level = np.average(of_frames, weights=of_frames)
    return librosa.power_to_db(power / level, amin=1e-4, top_db=None).T


def by_id(folder: Path, split: str) -> dict[str, np.ndarray]:
    shape = Description.load(folder).logmel_shape
    clips = parsed(shard_paths(folder, split), shape).as_numpy_iterator()
    return {clip["id"].decode(): clip["logmel"] for clip in clips}


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the record, which has the seconds."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "stage.json"
    }


@pytest.fixture(scope="module")
def extracted(tone_manifest, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("features") / "features"
    result = extract_features(manifest=tone_manifest, out=out, clip_seconds=SECONDS)
    counts = {"train": 12, "val": 12, "test": 12, "frames": 24, "hours": 0.004}
    assert result.counts == read_record(out)["counts"] == counts
    return out


@pytest.fixture
def corpus(tone_corpus, tmp_path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(tone_corpus, tmp_path / "corpus"))


def test_every_clip_is_once_in_its_split(extracted, tone_manifest):
    table = read_manifest(tone_manifest)
    names = sorted(path.name for path in extracted.iterdir())

    assert len(names) == 3 * 4 + 2
    assert {"description.json", "stage.json", "val-00003-of-00004.tfrecord"} < set(names)
    for split in SPLITS:
        rows = table[table["split"] == split]
        expected = {
            row.utterance_id: CLASSES.index(row.emotion) for row in rows.itertuples(index=False)
        }
        assert read_labels(extracted, split) == expected
        assert len(expected) == 12


def test_each_id_has_the_log_mel_of_its_own_clip(extracted, tone_manifest, tone_corpus):
    table = read_manifest(tone_manifest).set_index("utterance_id")

    for split in SPLITS:
        for utterance_id, logmel in by_id(extracted, split).items():
            path = tone_corpus / table.loc[utterance_id, "path"]
            np.testing.assert_allclose(logmel, expected_logmel(path, 6_400), atol=0.01)


def test_description_has_shape_classes_and_moments_of_train(extracted):
    description = Description.load(extracted)

    assert description.front_end == FrontEndConfig()
    assert description.clip_samples == 6_400
    assert description.logmel_shape == (24, 64)
    assert description.classes == tuple(CLASSES)
    frames = np.concatenate(list(by_id(extracted, "train").values())).astype(np.float64)
    np.testing.assert_allclose(description.mean, frames.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(description.deviation, frames.std(axis=0), rtol=1e-6)
    every = np.concatenate([x for split in SPLITS for x in by_id(extracted, split).values()])
    assert not np.allclose(description.mean, every.mean(axis=0), atol=0.1)


def test_clips_outside_train_do_not_shape_the_description(
    extracted, corpus, tone_manifest, tmp_path
):
    table = read_manifest(tone_manifest)
    for path in table.loc[table["split"] != "train", "path"]:
        samples = soundfile.info(corpus / path).frames
        noise = np.random.default_rng(0).uniform(-0.9, 0.9, samples)
        soundfile.write(corpus / path, noise, 16_000)
    out = tmp_path / "f"
    arguments = {"manifest": tone_manifest, "clip_seconds": SECONDS}
    extract_features(**arguments, audio_dir=corpus, out=out)

    changed, unchanged = content(out), content(extracted)
    assert changed["description.json"] == unchanged["description.json"]
    for i in range(4):
        name = f"-0000{i}-of-00004.tfrecord"
        assert changed[f"train{name}"] == unchanged[f"train{name}"]
        assert changed[f"val{name}"] != unchanged[f"val{name}"]
        assert changed[f"test{name}"] != unchanged[f"test{name}"]


def test_same_bytes_on_every_run_and_current_after_it(extracted, tone_manifest, tmp_path):
    arguments = {"manifest": tone_manifest, "out": tmp_path / "f", "clip_seconds": SECONDS}
    extract_features(**arguments)

    assert content(tmp_path / "f") == content(extracted)
    assert is_current(extract_features, arguments)
    assert not is_current(extract_features, arguments | {"clip_seconds": 0.5})
    other = FrontEndConfig(mel_bins=32)
    assert not is_current(extract_features, arguments | {"front_end": other})


@pytest.fixture
def with_duration(tone_manifest, tone_corpus, tmp_path):
    """Writes a corpus in which the first clip of a split has another length, and may claim one."""

    def write(split: str, seconds: float, claimed: float | str) -> dict:
        audio_dir = tmp_path / "audio"
        shutil.copytree(tone_corpus, audio_dir)
        table = read_manifest(tone_manifest)
        table["duration_seconds"] = table["duration_seconds"].astype(object)
        row = table.index[table["split"] == split][0]
        samples = np.resize([0.5, -0.5], round(16_000 * seconds))
        soundfile.write(audio_dir / table["path"][row], samples, 16_000)
        table.loc[row, "duration_seconds"] = claimed
        table.to_csv(tmp_path / "manifest.csv", index=False)
        return {
            "manifest": tmp_path / "manifest.csv",
            "audio_dir": audio_dir,
            "out": tmp_path / "features",
        }

    return write


@pytest.mark.parametrize("split", ["val", "test"])
def test_only_training_clips_decide_the_length(split, with_duration, extracted):
    arguments = with_duration(split, 2.0, 2.0)
    extract_features(**arguments)

    table = read_manifest(arguments["manifest"])
    longest = table.loc[table["split"] == "train", "duration_seconds"].max()
    assert Description.load(arguments["out"]).clip_samples == round(longest * 16_000) < 32_000


def test_a_clip_that_would_stretch_all_others_is_told(with_duration):
    arguments = with_duration("train", 61.0, 61.0)

    with pytest.raises(InputError, match=r"\.wav lasts 61 s, the other .*--clip-seconds"):
        extract_features(**arguments)
    assert extract_features(**arguments, clip_seconds=0.5).counts["frames"] == 30


@pytest.mark.parametrize(
    ("claimed", "rule"),
    [
        (80_000, r"audio, which may .* 80000 s, \S+ 2 s"),
        (1.8, r"audio, which may .* 1\.8 s, \S+ 2 s"),
        ("inf", "above 0"),
        (-1, "above 0"),
    ],
)
def test_durations_are_those_of_the_audio(claimed, rule, with_duration):
    with pytest.raises(InputError, match=rule):
        extract_features(**with_duration("train", 2.0, claimed))


@pytest.mark.parametrize("seconds", [-1, 0, 0.01, 1e9, float("inf"), float("nan")])
def test_lengths_that_no_clip_has_are_refused(seconds, tone_manifest, tmp_path):
    with pytest.raises(InputError, match=r"clip_seconds: must be 0\.032 .* to 3600"):
        extract_features(manifest=tone_manifest, out=tmp_path / "f", clip_seconds=seconds)


def test_clips_are_repeated_to_the_longest_to_the_sample(tone_manifest, tone_corpus, tmp_path):
    extract_features(manifest=tone_manifest, out=tmp_path / "f", shards=1)

    table = read_manifest(tone_manifest)
    trained = table.loc[table["split"] == "train", "path"]
    longest = max(soundfile.info(tone_corpus / path).frames for path in trained)
    assert Description.load(tmp_path / "f").clip_samples == longest
    table = read_manifest(tone_manifest).set_index("utterance_id")
    for utterance_id, logmel in by_id(tmp_path / "f", "val").items():
        path = tone_corpus / table.loc[utterance_id, "path"]
        np.testing.assert_allclose(logmel, expected_logmel(path, longest), atol=0.01)


def test_front_end_at_another_rate_gets_the_clips_at_that_rate(tone_manifest, tmp_path):
    front_end = FrontEndConfig(8_000, 256, 128, 40, 0.0, 4_000.0)
    extract_features(
        manifest=tone_manifest, out=tmp_path / "f", clip_seconds=0.25, front_end=front_end
    )

    assert Description.load(tmp_path / "f").clip_samples == 2_000
    centres = librosa.mel_frequencies(42, fmin=0, fmax=4_000)[1:-1]
    for utterance_id, logmel in by_id(tmp_path / "f", "train").items():
        emotion, actor = utterance_id.split("-")[2], int(utterance_id[-2:])
        hertz = {"01": 200, "04": 400, "05": 800}[emotion] + 20 * actor
        assert centres[logmel.mean(axis=0).argmax()] == pytest.approx(hertz, abs=60)


def test_clips_without_a_label_and_a_split_without_clips(tone_manifest, tone_corpus, tmp_path):
    table = read_manifest(tone_manifest)
    table = table[table["split"] != "val"].reset_index(drop=True)
    table.loc[[0, 20], "emotion"] = ""
    write_manifest(table, tmp_path / "manifest.csv")
    result = extract_features(
        manifest=tmp_path / "manifest.csv", out=tmp_path / "f", audio_dir=tone_corpus
    )

    labels = read_labels(tmp_path / "f", "train", "test")
    unlabelled = {key for key, label in labels.items() if label == -1}
    assert unlabelled == set(table.loc[[0, 20], "utterance_id"])
    assert Description.load(tmp_path / "f").classes == tuple(CLASSES)
    assert "val" not in result.counts
    assert not list((tmp_path / "f").glob("val-*"))


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda path: path.unlink(), r"manifest\.csv: .*missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "cut off"),
    ],
)
def test_bad_clip_leaves_the_earlier_output(
    spoil, rule, extracted, corpus, tone_manifest, tmp_path
):
    out = tmp_path / "f"
    shutil.copytree(extracted, out)
    record = read_record(out)
    path = corpus / "Actor_06" / "03-01-05-01-01-02-06.wav"
    spoil(path)

    with pytest.raises(InputError, match=rule) as error:
        extract_features(manifest=tone_manifest, out=out, audio_dir=corpus, clip_seconds=SECONDS)

    assert path.name in str(error.value)
    assert content(out) == content(extracted)
    assert read_record(out) == record
    assert sorted(item.name for item in tmp_path.iterdir()) == ["corpus", "f"]


KILL_AT_20 = """
import os, signal, sys
from pathlib import Path
from ser_nsl.audio import features

real, made = features.feature_example, []

def kill_at_20(*given):
    made.append(given)
    if len(made) == 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given)

features.feature_example = kill_at_20
features.extract_features(manifest=Path(sys.argv[1]), out=Path(sys.argv[2]), clip_seconds=0.4)
"""


@pytest.mark.slow
def test_killed_half_way_and_run_again(extracted, tone_manifest, tmp_path):
    out = tmp_path / "f"
    shutil.copytree(extracted, out)
    (out / "description.json").write_text("earlier")
    earlier = content(out)

    killed = subprocess.run(
        [sys.executable, "-c", KILL_AT_20, str(tone_manifest), str(out)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert content(out) == earlier
    left = {path.name for path in tmp_path.iterdir()} - {".f.lock"}
    assert left == {out.name, f".{out.name}.partial"}  # the unfinished work

    extract_features(manifest=tone_manifest, out=out, clip_seconds=SECONDS)
    assert content(out) == content(extracted)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == [out]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_full_disk_is_an_input_error(tone_manifest, tmp_path, monkeypatch):
    """TensorFlow writes to a device that is always full."""
    real = tf.io.TFRecordWriter

    def write_to_full_device(path):
        Path(path).touch()
        return real("/dev/full")

    monkeypatch.setattr(tf.io, "TFRecordWriter", write_to_full_device)

    with pytest.raises(InputError, match=r"f: no space left"):
        extract_features(manifest=tone_manifest, out=tmp_path / "f")
    assert not list(tmp_path.iterdir())


def test_moments_and_the_least_deviation_of_an_empty_band():
    moments = features.Moments(2)
    moments.update(np.array([[-100.0, 1.0], [-100.0, 3.0]], np.float32))
    moments.update(np.array([[-100.0, 5.0]], np.float32))
    mean, deviation = moments.result()

    assert mean == (-100.0, 3.0)
    assert deviation == (pytest.approx(1e-3), pytest.approx(np.std([1, 3, 5])))


@pytest.fixture
def description() -> Description:
    return Description(FrontEndConfig(mel_bins=2), 8_000, ("a", "b"), (-40.5, 1 / 3), (1.0, 2.0))


def test_description_round_trip(description, tmp_path):
    description.save(tmp_path)

    assert Description.load(tmp_path) == description
    assert json.loads((tmp_path / "description.json").read_text())["front_end"]["mel_bins"] == 2
    assert replace(description, clip_samples=512).logmel_shape == (1, 2)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:40],
        lambda text: "[]",
        lambda text: text.replace('"mean"', '"means"'),
        lambda text: text.replace('"clip_samples"', '"samples"'),
        lambda text: text.replace('"mel_bins": 2', '"mel_bins": -2'),
        lambda text: text.replace('"hop_samples"', '"hop"'),
    ],
)
def test_damaged_description_is_an_error_that_names_it(spoil, description, tmp_path):
    description.save(tmp_path)
    path = tmp_path / "description.json"
    path.write_text(spoil(path.read_text()))

    with pytest.raises(InputError, match=r"description\.json: "):
        Description.load(tmp_path)


def test_descriptions_of_former_versions_have_absolute_levels(description, tmp_path):
    description.save(tmp_path)
    path = tmp_path / "description.json"
    values = json.loads(path.read_text())
    assert values["front_end"].pop("level") == "clip"
    path.write_text(json.dumps(values))

    assert Description.load(tmp_path).front_end.level == "none"


def test_missing_description_is_an_error_that_names_the_folder(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for folder in (tmp_path, file):
        with pytest.raises(InputError, match=rf"{folder}: description\.json"):
            Description.load(folder)


def test_real_speech_makes_373_frames(shared_corpora, tmp_path):
    manifest = tmp_path / "manifest.csv"
    corpus = tmp_path / "ravdess"
    for actor in ("01", "02", "03"):
        folder = corpus / f"Actor_{actor}"
        folder.mkdir(parents=True)
        for path in sorted((shared_corpora / "ravdess" / folder.name).glob("*-01-01-01-*"))[:4]:
            (folder / path.name).symlink_to(path)
    split = SplitConfig(method="leave-one-speaker-out")
    prepare_corpus(corpus="ravdess", audio_dir=corpus, out=manifest, split=split)
    result = extract_features(manifest=manifest, out=tmp_path / "f", clip_seconds=5.984)

    description = Description.load(tmp_path / "f")
    assert result.counts["frames"] == 373
    assert description.clip_samples == 95_744
    assert description.logmel_shape == (373, 64)
    assert -40 < np.mean(description.mean) < -10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clip_samples", "16000"),
        ("clip_samples", 511),
        ("clip_samples", 10**12),
        ("classes", [""]),
        ("classes", {}),
        ("front_end", {}),
        ("classes", ["joy", "joy"]),
        ("classes", ["joy", 1]),
        ("mean", [0.0]),
        ("mean", [float("nan")] * 64),
        ("mean", ["loud"] * 64),
        ("deviation", [0.0] * 64),
        ("deviation", [-1.0] * 64),
        ("front_end", {"mel_bins": "64"}),
        ("front_end", {"level": "loud"}),
    ],
)
def test_description_out_of_range_is_an_error(name, value, tmp_path):
    good = Description(FrontEndConfig(), 16_000, ("joy", "anger"), (0.0,) * 64, (1.0,) * 64)
    good.save(tmp_path)
    assert Description.load(tmp_path) == good
    path = tmp_path / "description.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))

    with pytest.raises(InputError, match=r"description\.json: is not a description"):
        Description.load(tmp_path)


def test_copies_follow_from_id_and_number_and_leave_clean_records_alone(
    extracted, tone_manifest, tone_corpus, tmp_path
):
    pytest.importorskip("pyroomacoustics")
    table = read_manifest(tone_manifest)
    fewer = table[table["utterance_id"].str.endswith(("03", "06"))].reset_index(drop=True)
    write_manifest(fewer, tmp_path / "fewer.csv")
    both = {"clip_seconds": SECONDS, "audio_dir": tone_corpus}
    extract_features(manifest=tone_manifest, out=tmp_path / "all", copies=2, **both)
    extract_features(manifest=tmp_path / "fewer.csv", out=tmp_path / "few", copies=1, **both)

    clean = content(extracted)
    assert {name: content(tmp_path / "all")[name] for name in clean} == clean
    first, second = by_id(tmp_path / "all", "copy1"), by_id(tmp_path / "all", "copy2")
    assert set(first) == set(second) == set(table["utterance_id"])
    for utterance_id, logmel in by_id(tmp_path / "few", "copy1").items():
        np.testing.assert_allclose(logmel, first[utterance_id], atol=1e-3)
    assert all(np.abs(first[name] - second[name]).max() > 0.5 for name in first)

    resplit_records(records=tmp_path / "all", manifest=tone_manifest, out=tmp_path / "divided")
    assert content(tmp_path / "divided") == content(tmp_path / "all")


@pytest.mark.parametrize("change", [{"copies": -1}, {"copies": 101}])
def test_numbers_of_copies_out_of_range_are_refused(change, tone_manifest, tmp_path):
    with pytest.raises(InputError, match="copies: must be 0 to 100"):
        extract_features(manifest=tone_manifest, out=tmp_path / "f", **change)
