from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, recall_score

from benchmarks.mini_upstream.make import make_upstream
from ser_nsl.audio.clip import fit_length, read_audio
from ser_nsl.audio.records import read_embeddings
from ser_nsl.corpora.manifest import read_manifest
from ser_nsl.embeddings.mfcc import mfcc_embeddings
from ser_nsl.errors import InputError
from ser_nsl.evaluation.upstream import measure_upstream, read_measures
from ser_nsl.graph.quality import neighbor_agreement
from ser_nsl.pipeline.stage import read_record
from ser_nsl.upstream.checkpoint import load_for_finetuning, load_upstream
from ser_nsl.upstream.embed import extract_embeddings

pytestmark = pytest.mark.slow

CLASSES = ("anger", "calm", "neutral", "sadness")


@pytest.fixture(scope="module")
def small_upstream(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("upstream") / "random"
    make_upstream(out=out, hidden_size=16, layers=1, channels=8, seed=0)
    return out


@pytest.fixture(scope="module")
def upstream(small_upstream, tmp_path_factory) -> str:
    """Random, with a head that knows one class more than the tones have."""
    out = tmp_path_factory.mktemp("headed")
    model, extractor = load_for_finetuning(str(small_upstream), CLASSES)
    model.save_pretrained(out, safe_serialization=True)
    extractor.save_pretrained(out)
    return str(out)


@pytest.fixture(scope="module")
def measured(upstream, tone_manifest, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("measures") / "measures.json"
    measure_upstream(
        upstream=upstream, source=tone_manifest, targets=(tone_manifest,), out=out, clip_seconds=0.3
    )
    return read_measures(out)


def test_source_is_scored_by_the_head(measured, upstream, tone_manifest, tone_corpus):
    model, _ = load_for_finetuning(upstream, CLASSES)
    rows = read_manifest(tone_manifest)
    rows = rows[rows["split"] == "test"]
    predicted = []
    for path in rows["path"]:
        clip = fit_length(read_audio(tone_corpus / path), 4_800)
        logits = model((clip - clip.mean())[np.newaxis] / clip.std()).logits
        predicted.append(CLASSES[int(np.argmax(logits))])
    source = measured["source"]

    assert source["classes"] == list(CLASSES)
    assert source["clips"] == len(rows) == 12
    assert source["speakers"] == sorted(set(rows["speaker"]))
    assert source["corpus"] == "ravdess"
    expected = confusion_matrix(rows["emotion"], predicted, labels=CLASSES)
    assert source["confusion_matrix"] == expected.tolist()
    assert source["recall"]["calm"] is None
    assert source["accuracy"] == pytest.approx(np.mean(np.array(predicted) == rows["emotion"]))
    labels = sorted(set(rows["emotion"]))
    uar = recall_score(rows["emotion"], predicted, labels=labels, average="macro")
    assert source["uar"] == pytest.approx(uar)
    assert measured["upstream"] == load_upstream(upstream).fingerprint(with_head=True)


def test_target_is_compared_by_embeddings(measured, upstream, tone_manifest, tone_corpus, tmp_path):
    extract_embeddings(
        manifest=tone_manifest,
        upstream=upstream,
        out=tmp_path / "trained",
        clip_seconds=0.3,
        splits=("train", "val", "test"),
    )
    vectors = read_embeddings(tmp_path / "trained", ("train", "val", "test"))
    rows = read_manifest(tone_manifest)
    spaces = {
        "upstream": np.stack([vectors[clip] for clip in rows["utterance_id"]]),
        "mfcc": mfcc_embeddings(read_audio(tone_corpus / path) for path in rows["path"]),
    }
    target = measured["targets"]["ravdess"]

    assert (target["clips"], target["speakers"], target["emotions"]) == (36, 6, 3)
    for comparison, across_speakers, prepare in (
        ("other_speakers", True, lambda space: space),
        ("other_speakers_centered", True, lambda space: centered(space, rows["speaker"])),
        ("all_speakers", False, lambda space: space),
    ):
        for kind, space in spaces.items():
            expected = neighbor_agreement(
                prepare(space), rows["emotion"], rows["speaker"], across_speakers=across_speakers
            )
            found = {int(count): share for count, share in target[comparison][kind].items()}
            assert found == pytest.approx(expected)
    # Twelve clips an emotion, two of each speaker.
    assert target["other_speakers"]["chance"] == pytest.approx(10 / 30)
    assert target["all_speakers"]["chance"] == pytest.approx(11 / 35)


def centered(space, speakers):
    means = {speaker: space[speakers == speaker].mean(axis=0) for speaker in set(speakers)}
    return np.stack([v - means[speaker] for v, speaker in zip(space, speakers, strict=True)])


def test_untrained_twin_has_the_weights_of_its_seed(measured, upstream, tone_manifest, tmp_path):
    """The upstream here is itself untrained, so it is the twin of another seed."""
    make_upstream(out=tmp_path / "other", hidden_size=16, layers=1, channels=8, seed=1)
    arguments = {"upstream": upstream, "source": tone_manifest, "targets": (tone_manifest,)}
    outs = [tmp_path / name for name in ("same.json", "other.json")]
    measure_upstream(**arguments, out=outs[0], clip_seconds=0.3)
    measure_upstream(**arguments, out=outs[1], clip_seconds=0.3, seed=1)
    same, other = map(read_measures, outs)

    assert same == measured
    for comparison in ("other_speakers", "all_speakers"):
        shares = [each["targets"]["ravdess"][comparison] for each in (same, other)]
        assert shares[0].pop("untrained") != shares[1].pop("untrained")
        assert shares[0] == shares[1]


def test_without_targets_the_source_alone_is_scored(measured, upstream, tone_manifest, tmp_path):
    out = tmp_path / "measures.json"

    result = measure_upstream(upstream=upstream, source=tone_manifest, out=out, clip_seconds=0.3)

    assert read_measures(out) == measured | {"targets": {}}
    assert result.counts == {
        "uar": f"{measured['source']['uar']:.1%}",
        "accuracy": f"{measured['source']['accuracy']:.1%}",
        "clips": 12,
    }
    assert read_record(out)["inputs"].keys() == {"upstream", "source", "targets"}


def test_what_cannot_be_measured_is_refused(upstream, small_upstream, tone_manifest, tmp_path):
    arguments = {"upstream": upstream, "source": tone_manifest, "out": tmp_path / "x.json"}
    for change, message in (
        ({"upstream": str(small_upstream)}, "source: .* has anger, neutral, sadness"),
        ({"clip_seconds": 0.02}, "clip_seconds, window_seconds: .*400 samples .*is 320"),
        ({"targets": (tone_manifest, tone_manifest)}, "targets: .* second manifest of ravdess"),
    ):
        with pytest.raises(InputError, match=message):
            measure_upstream(**arguments | change)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("column", ["emotion", "speaker"])
def test_target_clips_need_emotion_and_speaker(column, upstream, tone_manifest, tmp_path):
    rows = read_manifest(tone_manifest)
    rows.loc[[3, 5], column] = ""
    rows.to_csv(tmp_path / "manifest.csv", index=False)

    with pytest.raises(InputError, match=rf"clips have no {column} \(2;") as error:
        measure_upstream(
            upstream=upstream,
            source=tone_manifest,
            targets=(tmp_path / "manifest.csv",),
            out=tmp_path / "measures.json",
        )
    assert ", ".join(rows["utterance_id"][[3, 5]]) in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", '{"upstream": "x", "source": {}}'])
def test_foreign_files_are_no_measures(content, tmp_path):
    path = tmp_path / "measures.json"
    path.write_text(content)

    with pytest.raises(InputError, match="measures.json: is not a result file"):
        read_measures(path)
