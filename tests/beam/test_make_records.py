"""Features and embeddings from a manifest, against the stages of one machine."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("apache_beam")
pytest.importorskip("google_crc32c")

from ser_nsl.audio.features import Description, extract_features
from ser_nsl.audio.settings import FrontEndConfig
from ser_nsl.beam import audio
from ser_nsl.beam.dead_letters import BadRecordError
from ser_nsl.beam.features import _describe, _merge
from ser_nsl.beam.manifest import Clip, CorpusSummary, _parse
from ser_nsl.corpora.manifest import read_manifest, write_manifest
from ser_nsl.errors import InputError
from ser_nsl.upstream.embed import extract_embeddings

SETTINGS = {"similarity_threshold": 0.5, "blocks": 2, "shards": 2}


def write_copy(manifest: Path, out: Path, change=lambda table: table) -> Path:
    write_manifest(change(read_manifest(manifest)), out)
    return out


@pytest.mark.slow
def test_records_are_those_of_the_stages(
    beam_here, tone_manifest, small_upstream, records_of, tmp_path
):
    upstream = str(small_upstream)
    extract_features(manifest=tone_manifest, out=tmp_path / "features")
    extract_embeddings(manifest=tone_manifest, upstream=upstream, out=tmp_path / "embeddings")

    out = tmp_path / "out"
    result = beam_here(manifest=tone_manifest, upstream=upstream, out=out, **SETTINGS)

    for split in ("train", "val", "test"):
        made = records_of(out / "features", split)
        assert made == records_of(tmp_path / "features", split)
        assert result.counts[f"features_of_{split}"] == len(made) > 0
    made, expected = records_of(out / "embeddings"), records_of(tmp_path / "embeddings")
    assert made.keys() == expected.keys()
    for name, example in made.items():
        feature, other = example.features.feature, expected[name].features.feature
        assert feature["upstream"] == other["upstream"]
        values = [each["embedding"].float_list.value for each in (feature, other)]
        np.testing.assert_allclose(*values, atol=1e-5)
    assert not list((out / "embeddings").glob("val-*"))
    description, stage = (Description.load(each / "features") for each in (out, tmp_path))
    assert description.logmel_shape == stage.logmel_shape
    assert (description.front_end, description.classes) == (stage.front_end, stage.classes)
    np.testing.assert_allclose(description.mean, stage.mean, rtol=1e-12)
    np.testing.assert_allclose(description.deviation, stage.deviation, rtol=1e-9)
    assert records_of(out / "training").keys() == made.keys()
    assert result.counts["dead_letters"] == 0


@pytest.mark.slow
def test_settings_reach_the_records(
    beam_here, tone_manifest, small_upstream, tone_corpus, records_of, tmp_path
):
    front_end = FrontEndConfig(
        sample_rate_hz=8_000, window_samples=256, hop_samples=128, high_hz=4e3
    )
    upstream_settings = {"clip_seconds": 0.4, "layers": (1,), "window_seconds": 0.15}
    settings = {"manifest": tone_manifest, "audio_dir": tone_corpus}
    upstream, splits = str(small_upstream), ("train", "val")
    extract_features(**settings, out=tmp_path / "features", clip_seconds=0.4, front_end=front_end)
    extract_embeddings(
        **settings,
        upstream=upstream,
        out=tmp_path / "embeddings",
        splits=splits,
        **upstream_settings,
    )

    out = tmp_path / "out"
    beam_here(
        **settings,
        upstream=upstream,
        out=out,
        front_end=front_end,
        splits=splits,
        **upstream_settings,
        **SETTINGS,
    )

    assert records_of(out / "features", "test") == records_of(tmp_path / "features", "test")
    for split in splits:
        expected = records_of(tmp_path / "embeddings", split)
        for name, example in records_of(out / "embeddings", split).items():
            vectors = [
                each.features.feature["embedding"].float_list.value
                for each in (example, expected.pop(name))
            ]
            np.testing.assert_allclose(*vectors, atol=1e-5)
        assert not expected
    both = {**records_of(out / "features"), **records_of(out / "features", "val")}
    assert records_of(out / "training").keys() == both.keys()


@pytest.mark.slow
def test_bad_clips_are_named_and_others_go_on(
    beam_here, tone_manifest, small_upstream, tone_corpus, lines_of, records_of, tmp_path
):
    good = read_manifest(tone_manifest)
    row = good[good["split"] == "train"].iloc[0]
    root = tmp_path / "audio"
    root.mkdir()
    for path in tone_corpus.rglob("*.wav"):
        (root / path.relative_to(tone_corpus)).parent.mkdir(exist_ok=True)
        (root / path.relative_to(tone_corpus)).write_bytes(path.read_bytes())
    (root / "noise.wav").write_bytes(b"RIFF, but no sound")
    (root / "cut.wav").write_bytes((root / row["path"]).read_bytes()[:-500])
    soundfile.write(root / "silent.wav", np.zeros(4_000), 16_000)
    manifest = write_copy(tone_manifest, tmp_path / "manifest.csv")
    line = "{},{},actor,,anger,{},{},tones\n".format
    with manifest.open("a") as file:
        file.write(line("noise", "noise.wav", "train", "0.4"))
        file.write(line("cut", "cut.wav", "train", "0.4"))
        file.write(line("silent", "silent.wav", "train", "0.4"))
        file.write(line("missing", "nowhere.wav", "train", "0.4"))
        file.write(line("long", row["path"], "train", "very"))
        file.write(2 * line("twice", row["path"], "train", "0.4"))
        file.write("three,fields,only\n")

    out = tmp_path / "out"
    result = beam_here(
        manifest=manifest, audio_dir=root, upstream=str(small_upstream), out=out, **SETTINGS
    )

    letters = [json.loads(line) for line in lines_of(out / "dead_letters" / "clips")]
    reasons = {(letter["id"], letter["stage"]): letter["reason"] for letter in letters}
    reading, decoding = "reading the manifest", "decoding at 16000 Hz"
    for key, reason in {
        ("noise", decoding): "decoded",
        ("cut", decoding): "cut",
        ("silent", decoding): "silent",
        ("missing", decoding): "does not exist",
        ("long", reading): "duration_seconds",
        ("twice", reading): "2 lines",
    }.items():
        assert reason in reasons[key]
    assert {letter["where"] for letter in letters if letter["id"] == "noise"} == {
        str(root / "noise.wav")
    }
    assert "line 'three,fields,only'" in {letter["where"] for letter in letters}
    assert len(letters) == result.counts["dead_letters"] == 7
    trained = set(good.loc[good["split"] == "train", "utterance_id"])
    for folder in ("features", "embeddings", "training"):
        assert records_of(out / folder).keys() == trained


@pytest.mark.slow
def test_speaker_in_several_splits_stops_it(
    beam_here, tone_manifest, tone_corpus, small_upstream, tmp_path
):
    manifest = write_copy(
        tone_manifest, tmp_path / "manifest.csv", lambda table: table.assign(speaker="one")
    )
    with pytest.raises(InputError, match="^manifest: .* one in test and train and val"):
        beam_here(
            manifest=manifest,
            audio_dir=tone_corpus,
            upstream=str(small_upstream),
            out=tmp_path / "out",
            **SETTINGS,
        )
    assert not (tmp_path / "out").exists()


def clip(emotion: str, split: str, seconds: float = 1.0) -> Clip:
    return Clip("id", "a.wav", "ann", emotion, split, seconds)


def test_classes_are_the_emotions_of_the_training_split():
    trained = clip("sad", "train"), clip("", "train", 3.0), clip("joy", "train")
    clips = *trained, clip("sad", "val", 9.0)
    summary = sum(map(CorpusSummary.of_clip, clips), CorpusSummary())

    assert summary.classes() == ("joy", "sad")
    assert summary.longest() == 3.0
    with pytest.raises(InputError, match="lasts 600 s, the other training clips 1.7 s"):
        (summary + CorpusSummary.of_clip(clip("joy", "train", 600.0))).longest()
    with pytest.raises(InputError, match="^manifest: .* awe"):
        (summary + CorpusSummary.of_clip(clip("awe", "val"))).classes()
    with pytest.raises(InputError, match="^manifest: .* any"):
        CorpusSummary.of_clip(clip("", "train")).classes()


@pytest.mark.parametrize(
    ("line", "utterance_id", "reason"),
    [
        ("three,fields,only", "", "3 fields, not 4"),
        (",1,train,a.wav", "", "id is empty"),
        ("a\tb,1,train,a.wav", "a\tb", "tab"),
        ("a,1,training,a.wav", "a", "split"),
        ("a,very,train,a.wav", "a", "duration_seconds.*'very'"),
        ("a,0,train,a.wav", "a", "duration_seconds.*'0'"),
        ("a,inf,train,a.wav", "a", "duration_seconds.*'inf'"),
    ],
)
def test_bad_lines_of_a_manifest(line, utterance_id, reason):
    columns = ("utterance_id", "duration_seconds", "split", "path")
    with pytest.raises(BadRecordError, match=reason) as raised:
        _parse(line, columns)

    assert raised.value.utterance_id == utterance_id
    assert repr(line) in raised.value.where


def test_failing_disk_makes_no_dead_letter(tmp_path, monkeypatch):
    def fail(path, **_):
        raise InputError(f"{path}: cannot be decoded") from OSError("the disk fails")

    monkeypatch.setattr(audio, "read_audio", fail)
    (tmp_path / "a.wav").touch()
    with pytest.raises(InputError, match="cannot be decoded"):
        audio._decode(clip("sad", "train"), audio_dir=str(tmp_path), sample_rate_hz=16_000)


def test_no_usable_training_clip_is_refused():
    front_end = FrontEndConfig(mel_bins=4)
    summary = CorpusSummary.of_clip(clip("sad", "train"))
    with pytest.raises(InputError, match="^manifest: .*training split"):
        _describe(_merge([], mel_bins=4), summary, front_end, None)


def test_manifest_without_a_column_is_refused(beam_here, small_upstream, tmp_path):
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("utterance_id,path\na,a.wav\n")
    with pytest.raises(InputError, match=r"manifest\.csv: .* 1 files and \['utterance_id,path'\]"):
        beam_here(
            manifest=manifest,
            audio_dir=tmp_path,
            upstream=str(small_upstream),
            out=tmp_path / "out",
        )


def test_manifest_without_audio_root_is_refused(beam_here, tone_manifest, small_upstream, tmp_path):
    manifest = write_copy(tone_manifest, tmp_path / "manifest.csv")
    with pytest.raises(InputError, match=r"manifest\.csv: .* --audio-dir"):
        beam_here(manifest=manifest, upstream=str(small_upstream), out=tmp_path / "out")
