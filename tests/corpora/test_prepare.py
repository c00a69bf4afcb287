import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_nsl.corpora import load_corpus, prepare_corpus
from ser_nsl.corpora.manifest import COLUMNS, read_manifest
from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.errors import InputError
from ser_nsl.pipeline.stage import is_current, read_record

LEAVE_ONE_OUT = SplitConfig(method="leave-one-speaker-out", fold=1)


@pytest.fixture
def corpus(tone_corpus, tmp_path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(tone_corpus, tmp_path / "corpus"))


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "manifest.csv"


def write_tone(path: Path, *, samples: int = 4_000, peak: float = 0.5) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = peak * np.sin(2 * np.pi * 300 / 16_000 * np.arange(samples))
    soundfile.write(path, tone, 16_000, subtype="FLOAT" if path.suffix == ".wav" else None)


def test_manifest_of_a_corpus(tone_corpus, out):
    result = prepare_corpus(corpus="ravdess", audio_dir=tone_corpus, out=out, split=LEAVE_ONE_OUT)

    table = read_manifest(out)
    assert table.columns.tolist() == list(COLUMNS)
    assert len(table) == 36
    first = table.iloc[0]
    assert first["utterance_id"] == "03-01-01-01-01-01-01"
    assert first["path"] == "Actor_01/03-01-01-01-01-01-01.wav"
    assert (first["speaker"], first["gender"], first["emotion"]) == ("01", "male", "neutral")
    assert set(table["corpus"]) == {"ravdess"}
    for row in table.itertuples():
        info = soundfile.info(tone_corpus / row.path)
        assert row.duration_seconds == pytest.approx(info.frames / 16_000, abs=1e-6)
    speakers = table.drop_duplicates("speaker").set_index("speaker")["split"]
    assert speakers.to_dict() == dict.fromkeys(("01", "03", "04", "06"), "train") | {
        "02": "test",
        "05": "val",
    }
    assert result.counts == {
        "clips": 36,
        "speakers": 6,
        "splits": {"train": 24, "val": 6, "test": 6},
        "hours": round(table["duration_seconds"].sum() / 3600, 3),
        "dropped": [],
    }
    assert read_record(out)["paths"] == {"audio_dir": str(tone_corpus)}


def test_same_bytes_again_and_current_until_a_clip_changes(corpus, tmp_path):
    arguments = {"corpus": "ravdess", "audio_dir": corpus, "split": LEAVE_ONE_OUT}
    first, second = tmp_path / "1" / "m.csv", tmp_path / "2" / "m.csv"
    prepare_corpus(**arguments, out=first)
    prepare_corpus(**arguments, out=second)
    assert first.read_bytes() == second.read_bytes()
    assert is_current(prepare_corpus, arguments | {"out": first})

    write_tone(corpus / "Actor_01" / "03-01-05-01-01-01-01.wav")
    assert not is_current(prepare_corpus, arguments | {"out": first})


def test_emotions_can_be_left_out(tone_corpus, out):
    result = prepare_corpus(
        corpus="ravdess", audio_dir=tone_corpus, out=out, leave_out=("neutral", "anger")
    )

    assert set(read_manifest(out)["emotion"]) == {"sadness"}
    assert result.counts["clips"] == 12


@pytest.mark.parametrize(
    ("corpus", "known"),
    [
        ("ravdess", "anger, calm, disgust, fear, happiness, neutral, sadness, surprise"),
        ("folder", "joy, shame"),
    ],
)
def test_unknown_emotion_cannot_be_left_out(corpus, known, tone_corpus, tmp_path, out):
    for emotion in ("joy", "shame"):
        write_tone(tmp_path / "folder" / emotion / "anna" / "1.wav")
    audio_dir = tmp_path / "folder" if corpus == "folder" else tone_corpus
    leave_out = ("bordom", *known.split(", "), "tired")

    message = rf"leave_out: .* received bordom, tired\. It has {known}\."
    with pytest.raises(InputError, match=message):
        prepare_corpus(corpus=corpus, audio_dir=audio_dir, out=out, leave_out=leave_out)
    assert not out.exists()


def test_known_emotion_without_clips_can_be_left_out(tone_corpus, out):
    result = prepare_corpus(
        corpus="ravdess", audio_dir=tone_corpus, out=out, leave_out=("surprise",)
    )

    assert result.counts["clips"] == 36


def test_formats_mix_and_other_files_are_ignored(corpus, out):
    for path in sorted(corpus.rglob("*-02-0?.wav")):
        samples, rate = soundfile.read(path)
        soundfile.write(path.with_suffix(".FLAC"), samples, rate)
        path.unlink()
    (corpus / "Actor_01" / "._03-01-01-01-01-01-01.wav").write_bytes(b"Mac")
    (corpus / "README.txt").write_text("about")

    prepare_corpus(corpus="ravdess", audio_dir=corpus, out=out, split=LEAVE_ONE_OUT)

    assert Counter(Path(path).suffix for path in read_manifest(out)["path"]) == {
        ".wav": 18,
        ".FLAC": 18,
    }


def spoil(name: str, corpus: Path) -> Path:
    """Puts one bad file into a corpus."""
    path = corpus / "Actor_03" / "03-01-05-01-01-02-03.wav"
    data = path.read_bytes()
    match name:
        case "not audio":
            path.write_text("these are words" * 100)
        case "empty":
            path.write_bytes(b"")
        case "cut off":
            path.write_bytes(data[:-500])
        case "zero length":
            write_tone(path, samples=0)
        case "silent":
            write_tone(path, peak=1e-6)
        case "NaN":
            write_tone(path, peak=np.nan)
        case "shorter than one window":
            write_tone(path, samples=511)
        case "unknown name":
            path = path.rename(path.with_name("holiday.wav"))
        case "unknown emotion":
            path = path.rename(path.with_name("03-01-77-01-01-02-03.wav"))
    return path


BAD = {
    "not audio": "cannot be decoded",
    "empty": "cannot be decoded",
    "cut off": "is cut off in the middle",
    "zero length": "holds no samples",
    "silent": "is silent",
    "NaN": "NaN or infinite samples",
    "shorter than one window": r"lasts 0\.032 s, shorter than one window",
    "unknown name": "a clip of RAVDESS has a name like",
    "unknown emotion": "unknown emotion '77'",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_clip_stops_or_is_skipped_and_named(name, corpus, out):
    arguments = {"corpus": "ravdess", "audio_dir": corpus, "out": out, "split": LEAVE_ONE_OUT}
    prepare_corpus(**arguments)
    before = out.read_bytes()
    path = spoil(name, corpus)

    with pytest.raises(InputError, match=rf"{path.name}: .*{BAD[name]}.*--skip-bad goes on"):
        prepare_corpus(**arguments)
    assert out.read_bytes() == before
    assert read_record(out)["counts"]["clips"] == 36

    result = prepare_corpus(**arguments, skip_bad=True)
    assert result.counts["clips"] == len(read_manifest(out)) == 35
    (reason,) = result.counts["dropped"]
    assert path.name in reason
    assert path.name in str(result)
    assert read_record(out)["counts"]["dropped"] == [reason]


def test_several_bad_clips_are_counted(corpus, out):
    arguments = {"corpus": "ravdess", "audio_dir": corpus, "out": out, "split": LEAVE_ONE_OUT}
    for path in (corpus / "Actor_03").iterdir():
        path.write_bytes(b"")
    (corpus / "Actor_04" / "holiday.wav").write_bytes(b"")

    with pytest.raises(InputError, match=r"holiday\.wav: a clip of RAVDESS") as error:
        prepare_corpus(**arguments)
    assert "more like it" not in str(error.value)  # names come first, before any decoding
    (corpus / "Actor_04" / "holiday.wav").unlink()
    with pytest.raises(InputError, match=r"Actor_03/.*\(5 more like it\.\)"):
        prepare_corpus(**arguments)
    assert not out.exists()
    assert len(prepare_corpus(**arguments, skip_bad=True).counts["dropped"]) == 6


def test_nothing_left_after_skipping_is_an_error(corpus, out):
    for path in corpus.rglob("*.wav"):
        path.write_bytes(b"")

    with pytest.raises(InputError, match="holds no clip"):
        prepare_corpus(corpus="ravdess", audio_dir=corpus, out=out, skip_bad=True)


@pytest.mark.parametrize(("corpus_name", "words"), [("emovo", "dis-f1-b1"), ("demos", "PR_f_01")])
def test_wrong_corpus_name_tells_the_form(corpus_name, words, tone_corpus, out):
    with pytest.raises(InputError, match=rf"{words}.*35 more like it"):
        prepare_corpus(corpus=corpus_name, audio_dir=tone_corpus, out=out)


def test_unknown_corpus_is_an_error(tone_corpus, out):
    with pytest.raises(InputError, match="corpus: .*ravdess, .* received 'paint'"):
        prepare_corpus(corpus="paint", audio_dir=tone_corpus, out=out)


def test_missing_and_empty_folders_are_errors(tmp_path, out):
    with pytest.raises(InputError, match=r"audio_dir: .*none does not exist"):
        prepare_corpus(corpus="ravdess", audio_dir=tmp_path / "none", out=out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"audio_dir: .*empty holds no clip of RAVDESS; .*\.wav"):
        prepare_corpus(corpus="ravdess", audio_dir=tmp_path / "empty", out=out)


def test_doubled_id_is_an_error(corpus, out):
    clip = corpus / "Actor_02" / "03-01-05-01-01-02-02.wav"
    shutil.copy(clip, corpus / clip.name)

    with pytest.raises(InputError, match=rf"^{corpus}: .* must be unique.*first: {clip.stem}"):
        prepare_corpus(corpus="ravdess", audio_dir=corpus, out=out, split=LEAVE_ONE_OUT)


def test_class_without_training_clips_is_an_error(corpus, out):
    for path in corpus.rglob("03-01-05-*.wav"):
        if path.parent.name != "Actor_02":
            path.unlink()

    with pytest.raises(InputError, match=r"every class needs clips in the training .*anger"):
        prepare_corpus(corpus="ravdess", audio_dir=corpus, out=out, split=LEAVE_ONE_OUT)


def test_any_folder_without_speakers(tmp_path, out):
    root = tmp_path / "mine"
    for emotion in ("anger", "joy"):
        for i in range(8):
            write_tone(root / emotion / f"{i}.flac")

    prepare_corpus(corpus="folder", audio_dir=root, out=out, split=SplitConfig(method="clips"))

    table = read_manifest(out)
    assert table["utterance_id"].tolist() == [
        f"{e}/{i}" for e in ("anger", "joy") for i in range(8)
    ]
    assert set(table["speaker"]) == {""}
    assert Counter(table["split"]) == {"train": 9, "val": 3, "test": 4}


@pytest.fixture
def listed(tmp_path) -> Path:
    """Three clips and a table of them."""
    for name in ("a", "b", "c"):
        write_tone(tmp_path / "mine" / f"{name}.wav")
    table = tmp_path / "clips.csv"
    table.write_text(
        "path,emotion,speaker,split\na.wav,joy,1,train\nb.wav,joy,2,val\nc.wav,,3,test\n"
    )
    return table


def prepare_listed(table: Path, out: Path, **options):
    return prepare_corpus(
        corpus="csv",
        audio_dir=table.parent / "mine",
        out=out,
        table=table,
        split=SplitConfig(method="given"),
        **options,
    )


def test_table_of_clips(listed, out):
    prepare_listed(listed, out)

    rows = read_manifest(out)[["utterance_id", "path", "speaker", "emotion", "split", "corpus"]]
    assert rows.to_numpy().tolist() == [
        ["a", "a.wav", "1", "joy", "train", "csv"],
        ["b", "b.wav", "2", "joy", "val", "csv"],
        ["c", "c.wav", "3", "", "test", "csv"],
    ]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("d.wav,joy,1,train", r"d\.wav: does not exist"),
        ("a.wav,joy,1,train", "{table}: utterance ids must be unique"),
        (
            "./a.wav,joy,1,val",
            "{table}: a speaker must stand in one split only .*1: in train and val",
        ),
        ("./a.wav,joy,9,dev", "{table}: a split must be one of .*dev"),
        ("./a.wav,fear,9,val", "{table}: every class needs clips in the training split"),
    ],
)
def test_bad_line_of_a_table(line, rule, listed, out):
    listed.write_text(f"{listed.read_text()}{line}\n".replace("./a.wav", "../mine/a.wav"))

    with pytest.raises(InputError, match=rule.replace("{table}", f"^{listed}")):
        prepare_listed(listed, out)
    assert not out.exists()


def test_missing_file_of_a_table_can_be_skipped(listed, out):
    listed.write_text(f"{listed.read_text()}d.wav,joy,1,train\n")

    assert len(prepare_listed(listed, out, skip_bad=True).counts["dropped"]) == 1
    assert len(read_manifest(out)) == 3


@pytest.mark.parametrize("corpus_name", ["csv", "ravdess"])
def test_table_goes_with_csv_alone(corpus_name, listed, out):
    with pytest.raises(InputError, match="table: the corpus 'csv', and no other, needs"):
        prepare_corpus(
            corpus=corpus_name,
            audio_dir=listed.parent,
            out=out,
            table=None if corpus_name == "csv" else listed,
        )


def test_real_emodb(shared_corpora, out):
    split = SplitConfig(test_share=0.2, val_share=0.25)
    result = prepare_corpus(
        corpus="emodb", audio_dir=shared_corpora / "emodb", out=out, split=split
    )

    table = read_manifest(out)
    assert result.counts["clips"] == 423
    assert result.counts["dropped"] == []
    people = table.drop_duplicates("speaker")
    assert Counter(zip(people["split"], people["gender"], strict=True)) == {
        ("train", "female"): 3,
        ("train", "male"): 3,
        ("val", "female"): 1,
        ("val", "male"): 1,
        ("test", "female"): 1,
        ("test", "male"): 1,
    }


@pytest.fixture
def angry_folder(tone_corpus, tmp_path) -> Path:
    """`Angry/anna_1.wav` and the like: three speakers in file names, two emotions."""
    tones = sorted(tone_corpus.rglob("*.wav"))
    for place, tone in zip(
        (
            f"{emotion}/{name}_{take}.wav"
            for emotion in ("Angry", "Happy")
            for name in NAMES
            for take in (1, 2)
        ),
        tones,
        strict=False,
    ):
        path = tmp_path / "folder" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tone, path)
    return tmp_path / "folder"


NAMES = ("anna", "ben", "cleo")
OF_FOLDER = {
    "corpus": "folder",
    "label_map": {"Angry": "anger"},
    "speaker_pattern": r"(?P<speaker>[a-z]+)_\d",
    "split": LEAVE_ONE_OUT,
}


def test_folder_with_its_own_labels_and_speakers_in_names(angry_folder, out):
    prepare_corpus(**OF_FOLDER, audio_dir=angry_folder, out=out)

    table = read_manifest(out)
    assert {*table["speaker"]} == {*NAMES}
    assert {*table["emotion"]} == {"anger", "Happy"}


def test_table_with_its_own_columns(angry_folder, out, tmp_path):
    table = tmp_path / "list.csv"
    rows = [
        f"{path.relative_to(angry_folder).as_posix()},{path.parent.name},{path.stem[:-2]}"
        for path in sorted(angry_folder.rglob("*.wav"))
    ]
    table.write_text("\n".join(["file,label,who", *rows]) + "\n")
    columns = {"path": "file", "emotion": "label", "speaker": "who"}
    arguments = {"corpus": "csv", "table": table, "audio_dir": angry_folder, "out": out}

    prepare_corpus(**arguments, columns=columns, label_map={"Happy": "joy"}, split=LEAVE_ONE_OUT)

    made = read_manifest(out)
    assert {*made["speaker"]} == {*NAMES}
    assert {*made["emotion"]} == {"Angry", "joy"}
    with pytest.raises(InputError, match=r"list\.csv: column path, emotion .* file, label, who"):
        prepare_corpus(**arguments)
    with pytest.raises(InputError, match=r"columns: .* received voice"):
        prepare_corpus(**arguments, columns={**columns, "voice": "who"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"speaker_pattern": "[a-z]+_"}, r"speaker_pattern: .*\(\?P<speaker>"),
        ({"speaker_pattern": "(?P<speaker>"}, "speaker_pattern: "),
        ({"speaker_pattern": r"(?P<speaker>\d+)_"}, "Angry/anna_1.wav: .*speaker_pattern"),
        ({"corpus": "emovo"}, "label_map, speaker_pattern: .*EMOVO"),
        ({"columns": {"path": "file"}}, "columns: .*--table"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes, message, angry_folder, out):
    with pytest.raises(InputError, match=message):
        prepare_corpus(**{**OF_FOLDER, **changes}, audio_dir=angry_folder, out=out)


def test_corpus_of_ones_own_is_described_by_a_file(angry_folder, out, tmp_path):
    description = tmp_path / "mine.yaml"
    description.write_text(
        "title: Mine\n"
        "pattern: '(?P<emotion>[A-Z][a-z]+)/(?P<speaker>[a-z]+)_[12]'\n"
        "labels: {Angry: anger, Happy: happiness}\n"
        "example: Angry/anna_1.wav\n"
        "ignore: 'Happy/[a-z]+_2'\n"
    )
    arguments = {"corpus": str(description), "audio_dir": angry_folder, "out": out}

    made = prepare_corpus(**arguments, split=LEAVE_ONE_OUT)

    assert made.counts["left_out_by_description"] == 3
    table = read_manifest(out)
    assert Counter(table["emotion"]) == {"anger": 6, "happiness": 3}
    assert {*table["corpus"]} == {"mine"}
    description.write_text(description.read_text().replace("_[12]'", "_1'"))
    load_corpus.cache_clear()
    with pytest.raises(InputError, match=r"Angry/anna_2\.wav: .* like Angry/anna_1\.wav"):
        prepare_corpus(**arguments, split=LEAVE_ONE_OUT)
