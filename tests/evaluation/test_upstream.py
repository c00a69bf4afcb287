from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score
from sklearn.preprocessing import scale

from ser_nsl.audio.clip import fit_length, read_audio
from ser_nsl.audio.records import read_embeddings
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.embeddings.mfcc import mfcc_statistics
from ser_nsl.errors import InputError
from ser_nsl.evaluation import upstream as module
from ser_nsl.evaluation.across_speakers import standardised_by_speaker, uar_across_speakers
from ser_nsl.evaluation.upstream import measure_upstream, read_measures
from ser_nsl.graph.quality import neighbor_agreement
from ser_nsl.pipeline.record import read_record
from ser_nsl.upstream.checkpoint import load_for_finetuning, load_upstream, save_encoder
from ser_nsl.upstream.embed import extract_embeddings

CLASSES = ("anger", "calm", "neutral", "sadness")
HUBERT = Path(__file__).parents[1] / "upstream" / "fixtures" / "hubert"


@pytest.fixture(scope="module")
def upstream(small_upstream, tmp_path_factory) -> str:
    """Random, with a head that knows one class more than the tones have."""
    out = tmp_path_factory.mktemp("headed")
    model, extractor = load_for_finetuning(str(small_upstream), CLASSES)
    model.save_pretrained(out, safe_serialization=True)
    extractor.save_pretrained(out)
    return str(out)


@pytest.fixture(scope="module")
def arguments(upstream, tone_manifest) -> dict:
    return {
        "upstream": upstream,
        "source": tone_manifest,
        "targets": (tone_manifest,),
        "compare": (str(HUBERT),),
        "layers": (1,),
        "clip_seconds": 0.3,
    }


@pytest.fixture(scope="module")
def measured(arguments, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("measures") / "measures.json"
    result = measure_upstream(**arguments, out=out)
    found = read_measures(out)
    assert read_record(out)["inputs"].keys() == {"upstream", "source", "targets", "compare"}
    assert result.counts.keys() == {"ravdess", f"head of {arguments['upstream']}"}
    assert result.counts["ravdess"].startswith("FC1: UAR ")
    return found


@pytest.mark.slow
def test_source_is_scored_by_the_head(measured, upstream, tone_manifest, tone_corpus):
    model, _ = load_for_finetuning(upstream, CLASSES)
    rows = read_manifest(tone_manifest)
    rows = rows[rows["split"] == "test"]
    predicted = []
    for path in rows["path"]:
        clip = fit_length(read_audio(tone_corpus / path), 4_800)
        logits = model((clip - clip.mean())[np.newaxis] / clip.std()).logits
        predicted.append(CLASSES[int(np.argmax(logits))])
    source = measured["source"][upstream]

    assert measured["source"].keys() == {upstream}  # the other has no head
    assert source["classes"] == list(CLASSES)
    assert source["clips"] == len(rows) == 12
    assert source["speakers"] == sorted(set(rows["speaker"]))
    expected = confusion_matrix(rows["emotion"], predicted, labels=CLASSES)
    assert source["confusion_matrix"] == expected.tolist()
    assert source["recall"]["calm"] is None
    labels = sorted(set(rows["emotion"]))
    uar = recall_score(rows["emotion"], predicted, labels=labels, average="macro")
    assert source["uar"] == pytest.approx(uar)


@pytest.mark.slow
def test_spaces_stand_side_by_side(measured, upstream, tone_manifest, tone_corpus, tmp_path):
    rows = read_manifest(tone_manifest)
    statistics = [mfcc_statistics(read_audio(tone_corpus / path)) for path in rows["path"]]
    spaces = {"MFCC": scale(np.stack(statistics).astype(np.float64))}
    for space, name, layers in (
        (f"{upstream}, layers 1", upstream, (1,)),
        (f"{upstream}, FC1", upstream, None),
        (f"{HUBERT}, layers 1", str(HUBERT), (1,)),
    ):
        made = extract_embeddings(
            manifest=tone_manifest,
            upstream=name,
            out=tmp_path / "embeddings",
            layers=layers,
            clip_seconds=0.3,
            splits=("train", "val", "test"),
        )
        vectors = read_embeddings(tmp_path / "embeddings", ("train", "val", "test"))
        spaces[space] = np.stack([vectors[clip] for clip in rows["utterance_id"]])
        assert measured["embeddings"][space] == made.counts["upstream"]
    target = measured["targets"]["ravdess"]

    assert measured["upstream"] == f"{upstream}, FC1"
    assert (target["clips"], target["speakers"], target["emotions"]) == (36, 6, 3)
    assert target["chance"] == pytest.approx(10 / 30)  # twelve an emotion, two of each speaker
    assert target["spaces"].keys() == {*spaces, "untrained"}
    for space, vectors in spaces.items():
        found = target["spaces"][space]
        for form, values in (
            ("raw", vectors),
            ("by_speaker", standardised_by_speaker(vectors, rows)),
        ):
            tested = {"same": values}
            uar = uar_across_speakers(values, rows, tested=tested)["same"]
            assert found["uar"][form]["all"] == pytest.approx(uar, abs=0.03), space
            draws = [
                uar_across_speakers(values, rows, tested=tested, label_share=0.25, seed=seed)[
                    "same"
                ]
                for seed in range(3)
            ]
            assert found["uar"][form]["quarter"] == pytest.approx(np.mean(draws), abs=0.03), space
        assert found["damaged"].keys() == {"noise 20 dB", "8 kHz", "-20 dB"}
        agreement = neighbor_agreement(vectors, rows["emotion"], rows["speaker"], neighbors=6)
        assert found["neighbors"]["raw"] == pytest.approx(agreement, abs=0.01), space
    # Input is standardised, so that level cannot matter; tones differ in pitch, as MFCCs tell.
    own = target["spaces"][f"{upstream}, layers 1"]
    assert own["damaged"]["-20 dB"] == own["uar"]["raw"]["all"]
    assert target["spaces"]["MFCC"]["uar"]["raw"]["all"] > 0.9


@pytest.mark.slow
def test_only_random_weights_noise_and_draws_depend_on_the_seed(measured, arguments, tmp_path):
    measure_upstream(**arguments, out=tmp_path / "other.json", seed=1)
    other = read_measures(tmp_path / "other.json")

    assert measured["embeddings"].pop("untrained") != other["embeddings"].pop("untrained")
    assert measured["embeddings"] == other["embeddings"]
    assert measured["source"] == other["source"]
    for space in measured["embeddings"]:
        found, again = (each["targets"]["ravdess"]["spaces"][space] for each in (measured, other))
        assert found["neighbors"] == again["neighbors"]
        assert found["uar"]["raw"]["all"] == again["uar"]["raw"]["all"]


def test_damages():
    time = np.arange(16_000) / 16_000
    low, high = (np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (500, 6_000))
    damages = module._damages(0)

    def power(waveform):
        return np.mean(waveform.astype(np.float64) ** 2)

    for waveform in (low, high):
        noise = damages["noise 20 dB"](waveform) - waveform
        assert power(waveform) / power(noise) == pytest.approx(100, rel=0.05)
        assert power(damages["-20 dB"](waveform)) == pytest.approx(power(waveform) / 100, rel=1e-4)
        np.testing.assert_array_equal(damages["as recorded"](waveform), waveform)
    first, second = (damages["noise 20 dB"](low) - low for _ in range(2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert power(damages["8 kHz"](high)) < 1e-4
    assert power(damages["8 kHz"](low)) == pytest.approx(0.5, rel=0.01)
    assert len(damages["8 kHz"](low)) == len(low)
    assert {change(low).dtype for change in damages.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("quarter", "verdict"), [(0.56, "worth"), (0.54, "not worth")])
def test_verdict(quarter, verdict):
    spaces = {
        "models/mine, FC1": {"uar": {"raw": {"all": 0.7, "quarter": quarter}}},
        "MFCC": {"uar": {"raw": {"all": 0.6, "quarter": 0.5}}},
    }
    assert module._verdict({"spaces": spaces}, "models/mine, FC1") == (
        f"FC1: UAR 70.0%, with a quarter of the labels {quarter:.1%} (MFCC 60.0%, 50.0%): "
        f"{verdict} a graph"
    )


def test_what_cannot_be_measured_is_refused(arguments, small_upstream, tone_manifest, tmp_path):
    rows = read_manifest(tone_manifest)
    for name, table in (
        ("alone", rows[rows["speaker"] == "01"].assign(split="train")),
        ("one_emotion", rows.assign(emotion="anger")),
        ("untested", rows[rows["split"] != "test"]),
    ):
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    out = tmp_path / "measures.json"
    for change, message in (
        ({"targets": (), "source": None}, "targets, source: give a corpus"),
        ({"compare": (arguments["upstream"],)}, "compare: .* different"),
        ({"upstream": str(small_upstream)}, "source: .* has anger, neutral, sadness"),
        ({"clip_seconds": 0.02}, "clip_seconds, window_seconds: .*400 samples .*is 320"),
        ({"layers": (1, 7)}, r"layers: .* received \(1, 7\)"),
        ({"targets": (tone_manifest, tone_manifest)}, "targets: .* second manifest of ravdess"),
        ({"targets": (tmp_path / "alone.csv",)}, "targets: .*alone.* 6 clips by 1 speakers"),
        ({"targets": (tmp_path / "one_emotion.csv",)}, "targets: .*one_emotion.* 1 emotions"),
        ({"source": tmp_path / "untested.csv"}, "source: .*untested.* no labelled clip"),
    ):
        with pytest.raises(InputError, match=message):
            measure_upstream(**arguments | change, out=out)
    assert not out.exists()


@pytest.mark.parametrize("column", ["emotion", "speaker"])
def test_target_clips_need_emotion_and_speaker(column, tone_manifest, tmp_path):
    rows = read_manifest(tone_manifest)
    rows.loc[[3, 5], column] = ""
    rows.to_csv(tmp_path / "manifest.csv", index=False)

    with pytest.raises(InputError, match=rf"clips have no {column} \(2;") as error:
        measure_upstream(
            upstream="any",
            targets=(tmp_path / "manifest.csv",),
            out=tmp_path / "measures.json",
        )
    assert ", ".join(rows["utterance_id"][[3, 5]]) in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", '{"upstream": "x", "targets": {}}'])
def test_foreign_files_are_no_measures(content, tmp_path):
    path = tmp_path / "measures.json"
    path.write_text(content)

    with pytest.raises(InputError, match="measures.json: is not a result file"):
        read_measures(path)


def test_layers_of_an_encoder_with_two_heads_are_measured_once(upstream, tmp_path):
    bare = load_upstream(upstream)
    save_encoder(bare.encoder, tmp_path)
    loaded = {str(tmp_path): load_upstream(str(tmp_path)), upstream: bare}

    spaces = module._embedders(loaded, None, (0, 1), 4_800, seed=1)  # not that of the upstream

    assert [*spaces] == [f"{tmp_path}, layers 0+1", "untrained", f"{upstream}, FC1"]
    assert len({embedder.name for embedder in spaces.values()}) == 3
