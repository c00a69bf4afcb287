import os
import shutil
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from ser_nsl.corpora import SplitConfig, known_corpora, prepare_corpus, read_manifest
from ser_nsl.corpora.manifest import COLUMNS
from ser_nsl.errors import InputError
from ser_nsl.pipeline.record import read_record
from ser_nsl.pipeline.stage import is_current

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


def test_what_is_not_read_is_counted_and_named(corpus, out, capsys):
    (corpus / "README.md").write_text("about the corpus")
    (corpus / os.fsdecode(b"caf\xe9.txt")).write_text("no name in UTF-8")
    hidden = corpus / ".Trash-1000" / "03-01-05-01-01-01-01.wav"
    hidden.parent.mkdir()
    hidden.write_bytes(b"never decoded")
    (corpus / "Actor_01" / "01-01-05-01-01-01-01.mp4").write_bytes(b"a video of RAVDESS")

    made = prepare_corpus(corpus="ravdess", audio_dir=corpus, out=out, split=LEAVE_ONE_OUT)

    assert made.counts["not_read"] == {".md": 1, ".txt": 1, "hidden folders": 1}
    assert made.counts["left_out"] == {"video": 1}
    first = r"README.md, caf\udce9.txt, .Trash-1000"
    assert f"1 .md, 1 .txt, 1 hidden folders (first: {first})" in capsys.readouterr().out
    assert len(read_manifest(out)) == 36


def test_same_bytes_again_and_current_until_a_clip_changes(corpus, tmp_path):
    arguments = {"corpus": "ravdess", "audio_dir": corpus, "split": LEAVE_ONE_OUT}
    first, second = tmp_path / "1" / "m.csv", tmp_path / "2" / "m.csv"
    prepare_corpus(**arguments, out=first)
    prepare_corpus(**arguments, out=second)
    assert first.read_bytes() == second.read_bytes()
    assert is_current(prepare_corpus, arguments | {"out": first})

    clip = corpus / "Actor_01" / "03-01-05-01-01-01-01.wav"
    quieter = 0.5 * soundfile.read(clip)[0]  # as long, so that no other column changes
    soundfile.write(clip, quieter, 16_000)
    assert not is_current(prepare_corpus, arguments | {"out": first})
    prepare_corpus(**arguments, out=first)
    assert first.read_bytes() != second.read_bytes()  # what was made from it is made again
    pd.testing.assert_frame_equal(read_manifest(first), read_manifest(second))


def test_emotions_can_be_renamed_joined_and_left_out(tone_corpus, out):
    prepare_corpus(
        corpus="ravdess",
        audio_dir=tone_corpus,
        out=out,
        label_map={"neutral": "calm", "sadness": "calm"},
        leave_out=("surprise",),  # which has no clip here
    )
    assert Counter(read_manifest(out)["emotion"]) == {"calm": 24, "anger": 12}

    prepare_corpus(
        corpus="ravdess",
        audio_dir=tone_corpus,
        out=out,
        label_map={"anger": "rage"},
        leave_out=("neutral", "rage"),
    )
    assert Counter(read_manifest(out)["emotion"]) == {"sadness": 12}


@pytest.mark.parametrize(
    ("corpus_name", "options", "rule"),
    [
        ("ravdess", {"leave_out": ("bordom", "fear")}, "leave_out: .* bordom.* anger, calm"),
        ("ravdess", {"label_map": {"angry": "anger"}}, "label_map: .* angry.* anger, calm"),
        ("folder", {"leave_out": ("anger",)}, r"leave_out: .* anger.* joy, shame\."),
        (
            "folder",
            {"leave_out": ("joy",), "label_map": {"joy": "happiness"}},
            r"leave_out: .* joy.* happiness, shame\.",
        ),
        ("speech", {"leave_out": ("joy",)}, "leave_out: has no effect .*speech.*joy"),
        ("speech", {"label_map": {"joy": "x"}}, "label_map: has no effect"),
        ("speech", {"split": SplitConfig(seed=1)}, "split: has no effect"),
        ("folder", {"speaker_pattern": "[a-z]+"}, r"speaker_pattern .*\(\?P<speaker>"),
        ("folder", {"speaker_pattern": "(?P<speaker>"}, "speaker_pattern .*regular expression"),
        ("folder", {"speaker_pattern": r"(?P<speaker>x\d)"}, r"joy/anna/1\.wav: .*x.*2 more"),
        ("folder", {"columns": {"path": "file"}}, "columns: .*--table"),
        ("folder", {"table": Path("clips.csv")}, "table: "),
        ("csv", {}, "table: "),
        ("paint", {}, "corpus: .*ravdess, .* 'paint'"),
        ("emovo", {}, r"joy/anna/1\.wav: .*dis-f1-b1.*2 more"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    corpus_name, options, rule, tone_corpus, tmp_path, out
):
    for place in ("joy/anna/1.wav", "shame/anna/1.wav", "shame/anna/2.wav"):
        write_tone(tmp_path / "folder" / place)
    (tmp_path / "clips.csv").write_text("path,emotion\n")
    if "table" in options:
        options = {"table": tmp_path / options["table"]}
    audio_dir = tone_corpus if corpus_name == "ravdess" else tmp_path / "folder"

    with pytest.raises(InputError, match=rule):
        prepare_corpus(corpus=corpus_name, audio_dir=audio_dir, out=out, **options)
    assert not out.exists()


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


def test_names_that_differ_in_the_suffix_only_are_several_clips(tmp_path, out, capsys):
    for emotion, speaker in product(("joy", "fear"), ("anna", "ben", "cem")):
        write_tone(tmp_path / "audio" / emotion / speaker / "0.wav", samples=4_000)
        write_tone(tmp_path / "audio" / emotion / speaker / "1.wav", samples=5_000)
    for suffix in (".flac", ".WAV"):
        write_tone(tmp_path / "audio" / "joy" / "anna" / f"0{suffix}", samples=6_000)

    made = prepare_corpus(corpus="folder", audio_dir=tmp_path / "audio", out=out)

    found = read_manifest(out).set_index("path")["utterance_id"]
    ids = {path: name for path, name in found.items() if "joy/anna/" in path}
    twins = [f"joy/anna/0{suffix}" for suffix in (".WAV", ".flac", ".wav")]
    assert ids == dict(zip(twins, twins, strict=True)) | {"joy/anna/1.wav": "joy/anna/1"}
    (doubt, *_) = made.counts["doubts"]
    assert "3 files" in doubt and all(name in doubt for name in twins)
    assert doubt in capsys.readouterr().out


def test_files_that_are_no_clips_are_left_out_and_counted(corpus, out):
    song = corpus / "Actor_01" / "03-02-05-01-01-01-01.wav"
    song.write_bytes(b"never decoded")

    made = prepare_corpus(corpus="ravdess", audio_dir=corpus, out=out, split=LEAVE_ONE_OUT)

    assert made.counts["left_out"] == {"song": 1}
    assert "left out (song: 1)" in str(made)
    assert len(read_manifest(out)) == 36


def spoil(name: str, corpus: Path) -> Path:
    """Puts one bad file into a corpus."""
    path = corpus / "Actor_03" / "03-01-05-01-01-02-03.wav"
    match name:
        case "not audio":
            path.write_text("these are words" * 100)
        case "cut off":
            path.write_bytes(path.read_bytes()[:-500])
        case "shorter than one window":
            write_tone(path, samples=511)
        case "unknown name":
            path = path.rename(path.with_name("holiday.wav"))
        case "unknown emotion":
            path = path.rename(path.with_name("03-01-77-01-01-02-03.wav"))
    return path


BAD = {
    "not audio": "",
    "cut off": "",
    "shorter than one window": r"0\.032 s",
    "unknown name": "03-01-05-02-01-01-12",
    "unknown emotion": "'77'.*08",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_clip_stops_or_is_skipped_and_named(name, corpus, out):
    arguments = {"corpus": "ravdess", "audio_dir": corpus, "out": out, "split": LEAVE_ONE_OUT}
    prepare_corpus(**arguments)
    before = out.read_bytes()
    path = spoil(name, corpus)

    with pytest.raises(InputError, match=rf"{path.name}: .*{BAD[name]}.*--skip-bad"):
        prepare_corpus(**arguments)
    assert out.read_bytes() == before
    assert read_record(out)["counts"]["clips"] == 36

    result = prepare_corpus(**arguments, skip_bad=True)
    assert result.counts["clips"] == len(read_manifest(out)) == 35
    (reason,) = result.counts["dropped"]
    assert path.name in reason and path.name in str(result)
    assert read_record(out)["counts"]["dropped"] == [reason]


def test_names_are_checked_before_any_decoding(corpus, out):
    arguments = {"corpus": "ravdess", "audio_dir": corpus, "out": out, "split": LEAVE_ONE_OUT}
    for path in corpus.rglob("*.wav"):
        path.write_bytes(b"")
    holiday = corpus / "Actor_04" / "holiday.wav"
    holiday.write_bytes(b"")

    with pytest.raises(InputError, match=r"^Actor_04/holiday\.wav: [^(]*$"):
        prepare_corpus(**arguments)
    shutil.copy(corpus / "Actor_01" / "03-01-05-01-01-01-01.wav", corpus)
    with pytest.raises(
        InputError, match=rf"^{corpus}: .*03-01-05-01-01-01-01 by 03-01.*01-01 by Actor_01/03-01"
    ):
        prepare_corpus(**arguments, skip_bad=True)
    (corpus / "03-01-05-01-01-01-01.wav").unlink()
    with pytest.raises(InputError, match=r"holiday\.wav: .*36 more"):
        prepare_corpus(**arguments, skip_bad=True)


def test_missing_and_empty_folders_are_errors(tmp_path, out):
    (tmp_path / "empty").mkdir()

    for name in ("none", "empty"):
        with pytest.raises(InputError, match=rf"audio_dir: .*{name} "):
            prepare_corpus(corpus="ravdess", audio_dir=tmp_path / name, out=out)
    (tmp_path / "empty" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"not read: 1 \.txt \(first: notes\.txt\)"):
        prepare_corpus(corpus="ravdess", audio_dir=tmp_path / "empty", out=out)
    with pytest.raises(InputError, match=r"audio_dir: .*notes\.txt is no folder"):
        prepare_corpus(corpus="folder", audio_dir=tmp_path / "empty" / "notes.txt", out=out)
    with pytest.raises(InputError, match=r"corpus: mine\.yaml does not exist"):
        prepare_corpus(corpus="mine.yaml", audio_dir=tmp_path / "empty", out=out)


def test_folder_of_a_known_corpus_is_recognised_by_its_names(tmp_path, out, capsys):
    root = tmp_path / "mine"
    for speaker in ("1001", "1002", "1003"):
        for code in ("ANG", "SAD"):
            write_tone(root / "AudioWAV" / f"{speaker}_DFA_{code}_XX.wav")

    split = {"speaker_pattern": r"(?P<speaker>\d{4})_", "split": LEAVE_ONE_OUT}
    prepare_corpus(corpus="folder", audio_dir=root, out=out, **split)
    assert "names are those of crema_d, which reads them: --corpus crema_d" in (
        capsys.readouterr().out
    )
    with pytest.raises(InputError, match=r"must lie at EMOTION/FILE.*--corpus crema_d"):
        prepare_corpus(corpus="folder", audio_dir=root / "AudioWAV", out=out)
    with pytest.raises(InputError, match=r"a clip of SAVEE .*--corpus crema_d"):
        prepare_corpus(corpus="savee", audio_dir=root, out=out)
    other = root / "AudioWAV" / "1004_DFA_BOR_XX.wav"
    write_tone(other)
    with pytest.raises(InputError, match=r"emotion 'BOR'; the labels of CREMA-D are [^;]*$"):
        prepare_corpus(corpus="crema_d", audio_dir=root, out=out)  # which is no advice then
    other.unlink()
    prepare_corpus(corpus="crema_d", audio_dir=root, out=out, split=LEAVE_ONE_OUT)
    assert "names are those" not in capsys.readouterr().out


def test_any_folder_without_speakers(tmp_path, out):
    for emotion in ("anger", "joy"):
        for i in range(8):
            write_tone(tmp_path / "mine" / emotion / f"{i}.flac")

    prepare_corpus(
        corpus="folder", audio_dir=tmp_path / "mine", out=out, split=SplitConfig(method="clips")
    )

    table = read_manifest(out)
    assert table["utterance_id"].tolist() == [
        f"{e}/{i}" for e in ("anger", "joy") for i in range(8)
    ]
    assert set(table["speaker"]) == {""}
    assert Counter(table["split"]) == {"train": 9, "val": 3, "test": 4}


@pytest.mark.parametrize("place", ["0.wav", "anger/eve/day/0.wav"])
def test_folder_with_clips_at_another_depth(place, tmp_path, out):
    write_tone(tmp_path / "mine" / place)

    with pytest.raises(InputError, match=rf"^{place}: .*EMOTION/SPEAKER/FILE"):
        prepare_corpus(corpus="folder", audio_dir=tmp_path / "mine", out=out)


@pytest.fixture
def folder(tone_corpus, tmp_path) -> Path:
    """`Angry/anna_1.wav` and the like: three speakers in file names, two emotions."""
    folder = tmp_path / "folder"
    tones = iter(sorted(tone_corpus.rglob("*.wav")))
    for emotion in ("Angry", "Happy"):
        (folder / emotion).mkdir(parents=True)
        for name in ("anna", "ben", "cleo"):
            for take in (1, 2):
                shutil.copy(next(tones), folder / emotion / f"{name}_{take}.wav")
    return folder


def test_speech_without_labels_is_for_training_only(folder, out, capsys):
    made = prepare_corpus(corpus="speech", audio_dir=folder, out=out)

    rows = read_manifest(out)
    assert len(rows) == made.counts["clips"] > 0 == made.counts["speakers"]
    assert set(rows["split"]) == {"train"}
    assert set(rows["emotion"]) == set(rows["speaker"]) == {""}
    assert "0 emotions" in capsys.readouterr().out


def test_folder_with_own_labels_and_speakers_in_names(folder, out):
    prepare_corpus(
        corpus="folder",
        audio_dir=folder,
        out=out,
        label_map={"Angry": "anger"},
        speaker_pattern=r"(?P<speaker>[a-z]+)_\d",
        split=LEAVE_ONE_OUT,
    )

    table = read_manifest(out)
    assert Counter(table["speaker"]) == dict.fromkeys(("anna", "ben", "cleo"), 4)
    assert Counter(table["emotion"]) == {"anger": 6, "Happy": 6}


def test_new_names_of_emotions_have_no_spare_spaces(folder, out, capsys):
    prepare_corpus(
        corpus="folder",
        audio_dir=folder,
        out=out,
        label_map={"Angry": "very\n angry ", "Happy": "  "},
        speaker_pattern=r"(?P<speaker>[a-z]+)_",
    )

    assert set(read_manifest(out)["emotion"]) == {"very angry", ""}


def test_own_corpus_is_described_by_a_file(folder, out, tmp_path):
    description = tmp_path / "mine.yaml"
    description.write_text(
        "title: Mine\n"
        "pattern: '(?P<emotion>[A-Z][a-z]+)/(?P<speaker>[a-z]+)_[12]'\n"
        "labels: {Angry: anger, Happy: happiness}\n"
        "example: Angry/anna_1.wav\n"
        "ignore: {second takes: 'Happy/[a-z]+_2'}\n"
    )
    arguments = {"corpus": str(description), "audio_dir": folder, "out": out}
    arguments["split"] = LEAVE_ONE_OUT

    made = prepare_corpus(**arguments)

    assert made.counts["left_out"] == {"second takes": 3}
    table = read_manifest(out)
    assert Counter(table["emotion"]) == {"anger": 6, "happiness": 3}
    assert set(table["corpus"]) == {"mine"}
    assert is_current(prepare_corpus, arguments)
    text = description.read_text()
    description.write_text(text.replace("Happy: happiness", "Sad: sadness"))
    assert not is_current(prepare_corpus, arguments)
    with pytest.raises(InputError, match=r"mine\.yaml: Happy/anna_1\.wav: .*'Happy'.*labels"):
        prepare_corpus(**arguments)
    description.write_text(text.replace("[a-z]+)_[12]", "[a-z]+)").replace("anna_1", "anna"))
    (folder / "Angry" / "anna_1.wav").rename(folder / "Angry" / "anna.wav")
    with pytest.raises(InputError, match=r"mine\.yaml: Angry/anna_2\.wav: .* Angry/anna\.wav"):
        prepare_corpus(**arguments)


def test_two_files_of_one_id_name_the_description_and_both(folder, out, tmp_path):
    description = tmp_path / "mine.yaml"
    description.write_text(
        "title: Mine\n"
        "pattern: '(?P<speaker>[a-z]+)_(?P<emotion>[12])'\n"
        "labels: {'1': anger, '2': happiness}\n"
        "example: anna_1.wav\n"
    )

    with pytest.raises(
        InputError, match=r"mine\.yaml: .*anna_1 by Angry/anna_1\.wav, anna_1 by Happy/anna_1\.wav"
    ):
        prepare_corpus(corpus=str(description), audio_dir=folder, out=out)


@pytest.fixture
def listed(tmp_path) -> Path:
    """Three clips and a table of them."""
    for name in ("a", "b", "c"):
        write_tone(tmp_path / "mine" / f"{name}.wav")
    table = tmp_path / "clips.csv"
    table.write_text(
        "path,emotion,speaker,split,mood\na.wav,NA,007,train,x\nb.wav,NA,2,val,x\nc.wav,,3,test,x\n"
    )
    return table


def prepare_listed(table: Path, out: Path, **options):
    arguments = {"audio_dir": table.parent / "mine", "table": table, "out": out}
    given = {"corpus": "csv", "split": SplitConfig(method="given")}
    return prepare_corpus(**{**given, **arguments, **options})


def test_table_of_clips(listed, out):
    prepare_listed(listed, out)

    rows = read_manifest(out)[["utterance_id", "path", "speaker", "emotion", "split", "corpus"]]
    assert rows.to_numpy().tolist() == [
        ["a", "a.wav", "007", "NA", "train", "csv"],
        ["b", "b.wav", "2", "NA", "val", "csv"],
        ["c", "c.wav", "3", "", "test", "csv"],
    ]


def test_table_with_own_columns_labels_and_speakers_in_names(listed, out):
    text = "file,label,emotion,split\na.wav,joy,x,train\nb.wav,joy,x,val\nc.wav,,x,test\n"
    listed.write_text(text)

    prepare_listed(
        listed,
        out,
        columns={"path": "file", "emotion": "label"},
        label_map={"joy": "happiness"},
        speaker_pattern=r"(?P<speaker>.)\.wav",
    )

    rows = read_manifest(out)[["path", "speaker", "emotion", "split"]]
    assert rows.to_numpy().tolist() == [
        ["a.wav", "a", "happiness", "train"],
        ["b.wav", "b", "happiness", "val"],
        ["c.wav", "c", "", "test"],
    ]
    with pytest.raises(
        InputError, match=r"clips\.csv: column path .*file, label, .*3 rows.*--columns path file\."
    ):
        prepare_listed(listed, out)
    with pytest.raises(InputError, match=r"clips\.csv: column voice "):
        prepare_listed(listed, out, columns={"path": "file", "speaker": "voice"})
    with pytest.raises(InputError, match=r"columns: .*utterance_id, .* mood"):
        prepare_listed(listed, out, columns={"path": "file", "mood": "label"})


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("d.wav,NA,1,train,x", r"d\.wav: "),
        ("a.wav,NA,1,train,x", r"{table}: clips are in several lines .*a\.wav.*one line"),
        ("./a.wav,NA,2,train,x", "{table}: a speaker .*2: in .*balanced"),
        ("./a.wav,NA,9,fold1,x", "{table}: a split must be one of .*'fold1'.* column split"),
        ("./a.wav,NA,9,,x", "{table}: a split must be one of .*''"),
        ("./a.wav,fear,9,val,x", "{table}: every class .*fear.*--leave-out"),
        ("a,b,c,d,e,f,g", "{table}: .*CSV"),
    ],
)
def test_bad_line_of_a_table(line, rule, listed, out):
    listed.write_text(f"{listed.read_text()}{line}\n".replace("./a.wav", "../mine/a.wav"))

    with pytest.raises(InputError, match=rule.replace("{table}", f"^{listed}")):
        prepare_listed(listed, out)
    assert not out.exists()


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_table_of_a_spreadsheet(separator, listed, out, capsys):
    text = listed.read_text().replace("speaker", "spk").replace(",", separator)
    text = f"{separator}\n{text}{4 * separator}\n \n"  # empty rows are written too
    listed.write_text(
        text.replace("path", "Path ").replace("x\n", '"x, y"\n'), encoding="utf-8-sig"
    )

    prepare_listed(listed, out, columns={})

    assert read_manifest(out)["path"].tolist() == ["a.wav", "b.wav", "c.wav"]
    assert "--columns speaker spk" in capsys.readouterr().out
    prepare_listed(listed, out, columns={"speaker": "spk"})
    assert read_manifest(out)["speaker"].tolist() == ["007", "2", "3"]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("path,emotion\na.wav,Wut über\n".encode("latin-1"), "UTF-8"),
        (b"path,emotion\na.wav,joy,007\n", "more cells than its header"),
        (b"", "CSV"),
        (b"path emotion\na.wav joy\n", "'path emotion'. Separate cells by commas, "),
        (b"a.wav,joy\nb.wav,joy\n", r"has no header: .* a\.wav"),
        (b"path,emotion\na.wav,j\0y\n", "is no text.*save it"),
        (b"path,emotion\na.wav,joy\nb.wav,joy,x\n", r"begins with b\.wav\); put quotes around"),
        (b'path,emotion\n"a.wav,joy\nb.wav,joy\n', "in line 3"),
        (b'{"path": "a.wav", "emotion": "joy"}\n', "is JSON, .*to_csv"),
        (b'[\n {"path": "a.wav", "emotion": "joy"}]\n', "is JSON, .*to_csv"),
        (b'[{"path": "' + 200_000 * b"x", "is JSON, .*to_csv"),
        (200_000 * b"x", "'x+'. Separate cells by commas, "),
        (b"%d," * 7000 % (*range(7000),) + b"x\n" + 7000 * b",y", "column path.{99,900}$"),
        (b"path,emotion\n", "holds no clip below its header, path, emotion"),
        (b"path,emotion,emotion\na.wav,joy,x\n", "columns are there twice .*emotion"),
        (b"path,Emotion,emotion\na.wav,1,joy\n", "may each .*Emotion, emotion.*--columns emotion"),
    ],
)
def test_table_that_is_no_table(content, rule, listed, out):
    listed.write_bytes(content)

    with pytest.raises(InputError, match=f"^{listed}: .*{rule}"):
        prepare_listed(listed, out)


def test_columns_that_cannot_be_what_they_are_called_are_told(listed, out, capsys):
    listed.write_text(
        "path,emotion,Utterance_ID,split\na.wav,joy,0,Training\nb.wav,joy,0,dev\nc.wav,,0,Test\n"
    )

    prepare_listed(listed, out)

    rows = read_manifest(out)[["utterance_id", "split"]]
    assert rows.to_numpy().tolist() == [["a", "train"], ["b", "val"], ["c", "test"]]
    assert "column Utterance_ID does not tell clips apart" in capsys.readouterr().out
    with pytest.raises(InputError, match="ids must be unique"):
        prepare_listed(listed, out, columns={"utterance_id": "Utterance_ID"})


def test_table_without_paths_is_told_what_would_be_understood(listed, out):
    listed.write_text("Sr No.,Speaker,Emotion,Utterance_ID,File Name\n1,ann,joy,0,a.wav\n")

    with pytest.raises(InputError) as error:
        prepare_listed(listed, out)
    assert "column path is missing; the file has Sr No., Speaker, Emotion" in str(error.value)
    assert "understood are utterance_id, speaker, gender and split too" in str(error.value)
    assert "--columns path 'File Name'" in str(error.value)


def test_corpus_with_a_copy_of_itself_inside_names_the_folder_to_give(tmp_path, out):
    # As TESS comes from Kaggle, where also one name has a letter less.
    names = ["OAF_Fear/OAF_back_fear.wav", "OAF_neutral/OA_bite_neutral.wav"]
    names += ["YAF_pleasant_surprised/YAF_dog_ps.wav", "YAF_fear/YAF_back_fear.wav"]
    for i, name in enumerate(names):
        for folder in ("TESS data", "tess data/TESS data"):
            write_tone(tmp_path / "tess" / folder / name, samples=4_000 + i)
    arguments = {"corpus": "tess", "out": out}

    with pytest.raises(InputError, match="OAF_back_fear .* folder TESS data holds each once"):
        prepare_corpus(**arguments, audio_dir=tmp_path / "tess")
    with pytest.raises(InputError, match="has OAF, YAF only.* surprise 1; 2 speakers: OAF 2"):
        prepare_corpus(**arguments, audio_dir=tmp_path / "tess" / "TESS data")


def test_corpus_a_level_further_down_is_told(tmp_path, out):
    for i, emotion in enumerate(("joy", "anger")):
        write_tone(tmp_path / "box" / "Mine" / emotion / "ann" / f"{i}.wav")

    with pytest.raises(InputError, match=r"must lie at .*a level down: --audio-dir \S+/box/Mine\."):
        prepare_corpus(corpus="folder", audio_dir=tmp_path / "box", out=out)


def test_splits_of_a_table_are_not_passed_over_in_silence(listed, out, capsys):
    prepare_listed(listed, out)
    assert "--split.method given" not in capsys.readouterr().out

    prepare_listed(listed, out, split=SplitConfig(test_share=0.4, val_share=0.5))
    assert "its splits are not used; if they should: --split.method given" in (
        capsys.readouterr().out
    )


def test_lines_of_a_table_that_end_too_early_are_told(listed, out, capsys):
    listed.write_text("speaker,split,path,emotion\n1,train,a.wav,joy\n2,val,b.wav\n3,test,c.wav\n")

    prepare_listed(listed, out)

    assert "2 lines have fewer cells than the header" in capsys.readouterr().out
    assert read_manifest(out)["emotion"].tolist() == ["joy", "", ""]
    listed.write_text(f"{listed.read_text()}4,train\n5,train\n")
    with pytest.raises(InputError, match="an empty path: is no file"):
        prepare_listed(listed, out)


@pytest.mark.parametrize("path", ["sub/a", "sub/a.mp3", "SUB/A.wav", "a.wav", "x/y/a.wav"])
def test_path_of_a_table_that_is_nearly_right_is_answered_by_the_right_one(path, listed, out):
    sub = listed.parent / "mine" / "sub"
    sub.mkdir()
    (sub.parent / "a.wav").rename(sub / "a.wav")
    text = listed.read_text()
    listed.write_text(text.replace("a.wav", path))
    with pytest.raises(InputError, match=rf"{path}: is no file .*, which has sub/a\.wav"):
        prepare_listed(listed, out)

    listed.write_text(text.replace("a.wav", r"sub\a.wav"))  # as Windows writes it
    prepare_listed(listed, out)
    assert "sub/a.wav" in read_manifest(out)["path"].tolist()


@pytest.mark.parametrize("place", ["/kaggle/input/", "C:\\Users\\ann\\", "file:///data/", " "])
def test_of_files_of_one_name_the_nearest_is_named(place, tmp_path, out):
    for speaker in ("ann", "ben", "cleo"):
        write_tone(tmp_path / "mine" / speaker / "1.wav")
    path = f"{place}ben\\1.wav" if "\\" in place else f"{place}ben/1.wav"
    table = tmp_path / "clips.csv"
    table.write_text(f"path,emotion\n{path},joy\n")

    with pytest.raises(InputError, match=r"ben/1\.wav'?: is no file .*, which has ben/1\.wav;"):
        prepare_listed(table, out)


def test_times_of_a_table_are_not_passed_over_in_silence(listed, out, capsys):
    listed.write_text(listed.read_text().replace("mood", "Start").replace("x\n", "0.1\n"))
    prepare_listed(listed, out)
    assert "whole file" not in capsys.readouterr().out  # the rank among starters, say

    lines = listed.read_text().splitlines()
    listed.write_text("\n".join([f"{lines[0]},end time", *(f"{line},0.2" for line in lines[1:])]))
    prepare_listed(listed, out)
    assert "columns Start, end time are not read, and each clip is its whole file" in (
        capsys.readouterr().out
    )


def test_genders_in_any_usual_way_and_spare_spaces(listed, out, capsys):
    rows = ["a,joy , anna,W.", "b,joy,anna ,Female", "c,joy,ben  b,männlich"]
    listed.write_text("path,emotion,speaker,gender,split\n")
    with listed.open("a") as file:
        file.writelines(row.replace(",", ".wav,", 1) + ",train\n" for row in rows)

    prepare_listed(listed, out)

    table = read_manifest(out)
    assert table["gender"].tolist() == ["female", "female", "male"]
    assert table["speaker"].tolist() == ["anna", "anna", "ben b"]
    said = capsys.readouterr().out
    assert "speaker: spaces or hidden characters were taken from ' anna', 'anna ', 'ben  b'" in said
    assert "doubt: joy is the only emotion" in said


def test_what_no_decoding_needs_is_said_before_it(listed, out, monkeypatch):
    def decode(path):
        raise AssertionError("decoded")

    monkeypatch.setattr("ser_nsl.audio.clip.read_audio", decode)
    listed.write_text(f"{listed.read_text()}d.wav,NA,1,train,x\n")
    with pytest.raises(InputError, match=r"d\.wav: is no file below .*mine"):
        prepare_listed(listed, out)
    listed.write_text(
        listed.read_text().replace("d.wav", "../mine/a.wav").replace("1,train", "2,val")
    )
    with pytest.raises(InputError, match="every class|a speaker must"):
        prepare_listed(listed, out, label_map={"NA": "fear"}, columns={"speaker": "emotion"})
    with pytest.raises(InputError, match="split.method: 'paper'|split.method: a corpus"):
        prepare_corpus(
            corpus="csv",
            table=listed,
            audio_dir=listed.parent / "mine",
            out=out,
            split=SplitConfig(method="paper"),
        )


def test_user_names_a_corpus_from_a_table(listed, out):
    prepare_listed(listed, out, name="Call centre 7")
    assert set(read_manifest(out)["corpus"]) == {"Call centre 7"}

    for name, rule in (("", "printable"), ("a\nb", "printable"), ("emodb", "known corpus")):
        with pytest.raises(InputError, match=f"name: .*{rule}"):
            prepare_listed(listed, out, name=name)
    with pytest.raises(InputError, match="name: .*ravdess has one"):
        prepare_corpus(corpus="ravdess", audio_dir=listed.parent, out=out, name="mine")


def test_one_speaker_can_be_prepared(tone_corpus, out):
    one = tone_corpus / "Actor_01"
    pattern = r"03-01-\d\d-01-01-\d\d-(?P<speaker>\d\d)"
    arguments = {"corpus": "ravdess", "audio_dir": one, "speaker_pattern": pattern, "out": out}
    with pytest.raises(InputError, match=r"'balanced' .* 01 only.*'clips'"):
        prepare_corpus(**arguments)
    with pytest.raises(InputError, match="'clips' needs more clips"):  # of each emotion
        prepare_corpus(**arguments, split=SplitConfig(method="clips"))

    split = SplitConfig(method="clips", test_share=0.5, val_share=0.5)
    prepare_corpus(
        **arguments, label_map={"neutral": "calm", "sadness": "calm", "anger": "calm"}, split=split
    )

    assert set(read_manifest(out)["split"]) == {"train", "val", "test"}
    assert set(read_manifest(out)["speaker"]) == {""}


@pytest.mark.parametrize("path", ["d.wav", 100 * "a sentence "])
def test_missing_file_of_a_table_can_be_skipped(path, listed, out):
    listed.write_text(f"{listed.read_text()}{path},NA,1,train,x\n")

    assert len(prepare_listed(listed, out, skip_bad=True).counts["dropped"]) == 1
    assert len(read_manifest(out)) == 3


def test_help_lists_the_known_corpora():
    assert ", ".join(known_corpora()) in prepare_corpus.__doc__


def test_real_emodb(shared_corpora, out):
    result = prepare_corpus(
        corpus="emodb",
        audio_dir=shared_corpora / "emodb",
        out=out,
        split=SplitConfig(test_share=0.2, val_share=0.25),
    )

    people = read_manifest(out).drop_duplicates("speaker")
    assert (result.counts["clips"], result.counts["dropped"]) == (423, [])
    assert Counter(zip(people["split"], people["gender"], strict=True)) == {
        (split, gender): 3 if split == "train" else 1
        for split in ("train", "val", "test")
        for gender in ("female", "male")
    }


def test_refused_split_says_what_was_found(folder, out):
    arguments = {"corpus": "folder", "audio_dir": folder, "out": out}

    with pytest.raises(InputError, match=r"speaker of every clip.* Found 12 clips: 2 emotions: "):
        prepare_corpus(**arguments)
    with pytest.raises(InputError, match="leave_out: Angry Happy leaves no clip"):
        prepare_corpus(**arguments, leave_out=("Angry", "Happy"))


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        (b"caf\xe9.wav", r"b'anger/caf\\xe9\.wav': is not UTF-8; rename"),
        (b"a\tb.wav", r"'anger/a\\tb\.wav': has a tab .*rename"),
        (b"a\nb.wav", r"'anger/a\\nb\.wav': has .*line end .*rename"),
    ],
)
def test_names_that_no_manifest_holds_are_named_and_can_be_skipped(name, rule, folder, out):
    (folder / "anger").mkdir()
    (folder / "anger" / os.fsdecode(name)).write_bytes(b"never decoded")
    arguments = {"corpus": "folder", "audio_dir": folder, "out": out}
    arguments["split"] = SplitConfig(method="clips")

    with pytest.raises(InputError, match=rule):
        prepare_corpus(**arguments)
    made = prepare_corpus(**arguments, skip_bad=True)
    assert made.counts["clips"] == 12
    assert len(made.counts["dropped"]) == 1
