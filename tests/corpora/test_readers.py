from collections import Counter
from pathlib import PurePath

import pytest

from ser_nsl.audio.clip import SUFFIXES
from ser_nsl.corpora import CORPORA
from ser_nsl.corpora.layout import Clip
from ser_nsl.corpora.table import read_table
from ser_nsl.errors import InputError


def read(corpus: str, path: str) -> Clip:
    return CORPORA[corpus](PurePath(path))


def real_clips(corpus: str, folder) -> list[Clip]:
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES]
    return [CORPORA[corpus](PurePath(path.relative_to(folder))) for path in paths]


RAVDESS = ["neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise"]
DEMOS = {
    "col": "guilt",
    "dis": "disgust",
    "gio": "happiness",
    "neu": "neutral",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}
EMODB = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}


@pytest.mark.parametrize(("code", "emotion"), list(enumerate(RAVDESS, start=1)))
def test_ravdess(code, emotion):
    stem = f"03-01-{code:02d}-02-01-02-12"

    assert read("ravdess", f"Actor_12/{stem}.wav") == Clip(stem, "12", "female", emotion)


def test_ravdess_odd_actors_are_male():
    genders = [read("ravdess", f"03-01-01-01-01-01-{i:02d}.flac").gender for i in range(1, 25)]

    assert genders == ["male", "female"] * 12


@pytest.mark.parametrize(("code", "emotion"), list(DEMOS.items()))
def test_demos(code, emotion):
    assert read("demos", f"DEMOS/PR_f_01_{code}07b.wav") == Clip(
        f"PR_f_01_{code}07b", "01", "female", emotion
    )


def test_demos_neutral_lacks_the_first_part():
    assert read("demos", "NEU/m_11_neu00a.wav") == Clip("m_11_neu00a", "11", "male", "neutral")
    assert read("demos", "DEMOS/NP_m_69_tri10c.wav").speaker == "69"


@pytest.mark.parametrize(
    ("code", "emotion"), [(code, name) for code, name in DEMOS.items() if code != "col"]
)
def test_emovo(code, emotion):
    assert read("emovo", f"{code}-f1-b1.wav") == Clip(f"{code}-f1-b1", "f1", "female", emotion)
    assert read("emovo", f"m3/{code}-m3-l4.wav").gender == "male"


@pytest.mark.parametrize(("code", "emotion"), list(EMODB.items()))
def test_emodb(code, emotion):
    assert read("emodb", f"wav/03a01{code}a.wav") == Clip(f"03a01{code}a", "03", "male", emotion)


def test_emodb_speakers_have_the_genders_of_its_documentation():
    genders = {
        speaker: read("emodb", f"{speaker}b10Nc.wav").gender
        for speaker in ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    }

    assert [s for s in genders if genders[s] == "male"] == ["03", "10", "11", "12", "15"]
    assert [s for s in genders if genders[s] == "female"] == ["08", "09", "13", "14", "16"]


def test_folder_takes_emotion_and_speaker_from_folders():
    assert read("folder", "anger/a.wav") == Clip("anger/a", "", "", "anger")
    assert read("folder", "anger/eve/a.b.wav") == Clip("anger/eve/a.b", "eve", "", "anger")


@pytest.mark.parametrize(
    ("corpus", "path", "form"),
    [
        ("ravdess", "holiday.wav", "03-01-EE-II-SS-RR-AA"),
        ("ravdess", "03-01-01-01-01-01.wav", "03-01-EE-II-SS-RR-AA"),
        ("ravdess", "03-01-01-01-01-01-01-01.wav", "03-01-EE-II-SS-RR-AA"),
        ("ravdess", "Actor_01/03-02-01-01-01-01-01.wav", "03-01-EE-II-SS-RR-AA"),  # song
        ("demos", "DEMOS/NP_x_01_col07b.wav", "PR_f_01_col01a"),
        ("demos", "DEMOS/XX_f_01_col07b.wav", "PR_f_01_col01a"),
        ("demos", "03-01-01-01-01-01-01.wav", "PR_f_01_col01a"),
        ("emovo", "dis-x1-b1.wav", "dis-f1-b1"),
        ("emovo", "03a01Fa.wav", "dis-f1-b1"),
        ("emodb", "dis-f1-b1.wav", "03a01Fa"),
        ("emodb", "07a01Fa.wav", "03a01Fa"),  # there is no speaker 07
        ("emodb", "03c01Fa.wav", "03a01Fa"),
        ("folder", "a.wav", "EMOTION/FILE or EMOTION/SPEAKER/FILE"),
        ("folder", "anger/eve/day/a.wav", "EMOTION/FILE or EMOTION/SPEAKER/FILE"),
    ],
)
def test_foreign_name_is_an_error_with_the_form(corpus, path, form):
    with pytest.raises(InputError) as error:
        read(corpus, path)

    assert str(error.value).startswith(f"{path}: ")
    assert form in str(error.value)


@pytest.mark.parametrize(
    ("corpus", "path", "code"),
    [
        ("ravdess", "03-01-09-01-01-01-01.wav", "09"),
        ("ravdess", "03-01-00-01-01-01-01.wav", "00"),
        ("demos", "DEMOS/PR_f_01_xyz01a.wav", "xyz"),
        ("emovo", "col-f1-b1.wav", "col"),
        ("emodb", "03a01Xa.wav", "X"),
    ],
)
def test_unknown_emotion_is_an_error_with_the_known_ones(corpus, path, code):
    with pytest.raises(InputError, match=rf"{path}: unknown emotion '{code}'; known are \w+, "):
        read(corpus, path)


def test_all_names_of_demos(shared_reference):
    names = (shared_reference / "demos_filenames.txt").read_text().split()
    clips = [read("demos", name) for name in names]

    assert len(clips) == len({clip.utterance_id for clip in clips}) == 9_697
    assert Counter(clip.emotion for clip in clips) == {
        "anger": 1_477,
        "disgust": 1_678,
        "fear": 1_156,
        "guilt": 1_129,
        "happiness": 1_395,
        "sadness": 1_530,
        "surprise": 1_000,
        "neutral": 332,
    }
    speakers = {(clip.speaker, clip.gender) for clip in clips}
    assert Counter(gender for _, gender in speakers) == {"female": 23, "male": 45}
    females = Counter(clip.emotion for clip in clips if clip.gender == "female")
    assert [females[DEMOS[code]] for code in ("col", "dis", "gio", "pau", "rab", "sor", "tri")] == [
        400,
        596,
        524,
        415,
        516,
        349,
        532,
    ]


def test_all_clips_of_ravdess(shared_corpora):
    clips = real_clips("ravdess", shared_corpora / "ravdess")

    assert len(clips) == len({clip.utterance_id for clip in clips}) == 1_440
    assert Counter(clip.emotion for clip in clips) == {
        emotion: 96 if emotion == "neutral" else 192 for emotion in RAVDESS
    }
    assert set(Counter(clip.speaker for clip in clips).values()) == {60}
    assert len({clip.speaker for clip in clips}) == 24


def test_all_clips_of_emovo(shared_corpora):
    clips = real_clips("emovo", shared_corpora / "emovo")

    assert len(clips) == len({clip.utterance_id for clip in clips}) == 588
    assert set(Counter(clip.emotion for clip in clips).values()) == {84}
    assert Counter(clip.speaker for clip in clips) == dict.fromkeys(
        ("f1", "f2", "f3", "m1", "m2", "m3"), 98
    )


def test_all_clips_of_emodb(shared_corpora):
    clips = real_clips("emodb", shared_corpora / "emodb")

    assert len(clips) == len({clip.utterance_id for clip in clips}) == 423
    assert Counter(clip.emotion for clip in clips) == {
        "anger": 127,
        "neutral": 79,
        "happiness": 71,
        "sadness": 62,
        "fear": 55,
        "disgust": 29,
    }
    assert len({clip.speaker for clip in clips}) == 10


def test_table_keeps_what_is_known(tmp_path):
    table = tmp_path / "clips.csv"
    table.write_text(
        "speaker,path,mood,emotion,split,utterance_id,gender,duration_seconds\n"
        "007,a/b.wav,x,NA,train,first,female,3\n"
        ",c.wav,y,,test,2,,4\n"
    )

    rows = read_table(table)

    assert rows.to_dict("records") == [
        {
            "utterance_id": "first",
            "path": "a/b.wav",
            "speaker": "007",
            "gender": "female",
            "emotion": "NA",
            "split": "train",
        },
        {
            "utterance_id": "2",
            "path": "c.wav",
            "speaker": "",
            "gender": "",
            "emotion": "",
            "split": "test",
        },
    ]


def test_table_fills_what_is_not_known(tmp_path):
    table = tmp_path / "clips.csv"
    table.write_text("path,emotion\na/b.c.wav,anger\n")

    assert read_table(table).to_dict("records") == [
        {
            "utterance_id": "a/b.c",
            "path": "a/b.c.wav",
            "speaker": "",
            "gender": "",
            "emotion": "anger",
        }
    ]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"path,mood\na.wav,x\n", "column emotion is missing; 'path' and 'emotion' are needed"),
        (b"file\na.wav\n", "column path, emotion is missing"),
        (b"", "cannot be read as CSV"),
        (b"path,emotion\na,b\nc,d,e\n", "cannot be read as CSV"),
        (b"path,emotion\n\xff\xfe,x\n", "cannot be read as CSV"),
    ],
)
def test_bad_table_is_an_error_that_names_it(content, rule, tmp_path):
    table = tmp_path / "clips.csv"
    table.write_bytes(content)

    with pytest.raises(InputError, match=r"clips\.csv: ") as error:
        read_table(table)

    assert rule in str(error.value)


def test_table_that_is_a_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read as CSV"):
        read_table(tmp_path)
