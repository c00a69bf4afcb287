"""What the YAML files of corpora read from the names that these corpora are documented to have."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path, PurePath
from typing import NamedTuple

import pytest
import yaml

from ser_nsl.audio.folders import SUFFIXES
from ser_nsl.corpora import Corpus, known_corpora, load_corpus
from ser_nsl.corpora.description import Clip, LabelTables
from ser_nsl.errors import InputError


class Listing(NamedTuple):
    """Names of a corpus, and what must come out of them."""

    names: list[str]
    clips: dict[str, int]  # by emotion
    speakers: tuple[int, int]  # women, men
    first: Clip  # of the first name
    refused: list[str]
    left_out: dict[str, int] = {}


EMODB = [
    f"wav/{speaker}{text}{emotion}a.wav"
    for speaker, text, emotion in product(
        ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16"), ("a01", "b10"), "WLEAFTN"
    )
]
OF_EMODB = dict.fromkeys(
    ("anger", "boredom", "disgust", "fear", "happiness", "neutral", "sadness"), 20
)
LISTINGS = {
    "cafe": Listing(
        [
            f"{emotion}/{level}/{actor:02}-{emotion[0]}-{level}-{sentence}.wav"
            for emotion, level, actor, sentence in product(
                ("Colère", "Dégoût", "Joie", "Neutre", "Peur", "Surprise", "Tristesse"),
                (1, 2),
                range(1, 13),
                range(1, 7),
            )
            if (emotion, level) != ("Neutre", 2)
        ],
        dict.fromkeys(("anger", "disgust", "fear", "happiness", "sadness", "surprise"), 144)
        | {"neutral": 72},
        (6, 6),
        Clip("01-C-1-1", "01", "male", "anger"),
        ["01-X-1-1.wav", "1-C-1-1.wav", "13-C-1-1.wav"],
    ),
    "crema_d": Listing(
        [
            f"AudioWAV/{actor}_{part}.wav"
            for actor in range(1001, 1092)
            for part in ("DFA_ANG_XX", "IEO_HAP_HI", "IEO_FEA_LO", "WSI_DIS_XX", "IWL_NEU_XX")
        ]
        + ["AudioWAV/1040_ITH_SAD_X.wav", "AudioMP3/1001_DFA_ANG_XX.mp3"],
        dict.fromkeys(("anger", "disgust", "fear", "happiness", "neutral"), 91) | {"sadness": 1},
        (43, 48),
        Clip("1001_DFA_ANG_XX", "1001", "male", "anger"),
        ["1001_DFA_ANG.wav", "1001_DFA_BOR_XX.wav", "1092_DFA_ANG_XX.wav"],
        {"copies as MP3": 1},
    ),
    "demos": Listing(
        [
            f"DEMOS/{kind}_{speaker}_{emotion}{number:02}a.wav"
            for kind, speaker, emotion, number in product(
                ("PR", "NP"),
                ("f_01", "m_02", "m_69"),
                ("col", "dis", "gio", "pau", "rab", "sor", "tri"),
                (1, 10),
            )
        ]
        + ["NEU/m_11_neu00a.wav"],
        dict.fromkeys(("anger", "disgust", "fear", "guilt", "happiness", "sadness", "surprise"), 12)
        | {"neutral": 1},
        (1, 3),
        Clip("PR_f_01_col01a", "01", "female", "guilt"),
        ["PR_x_01_col01a.wav", "XX_f_01_col07b.wav", "PR_f_01_xyz01a.wav"],
    ),
    "emodb": Listing(
        EMODB,
        OF_EMODB,
        (5, 5),
        Clip("03a01Wa", "03", "male", "anger"),
        ["03a01Za.wav", "07a01Fa.wav", "03c01Fa.wav", "03a01Faxx.wav"],
    ),
    "emodb2": Listing(
        EMODB + [name.replace("wav/", "laryngo/") for name in EMODB],
        OF_EMODB,
        (5, 5),
        Clip("03a01Wa", "03", "male", "anger"),
        ["03a01Faxx.wav"],
        {"laryngograms": len(EMODB)},
    ),
    "emovo": Listing(
        [
            f"{speaker}/{emotion}-{speaker}-{sentence}.wav"
            for speaker, emotion, sentence in product(
                ("f1", "f2", "f3", "m1", "m2", "m3"),
                ("dis", "gio", "neu", "pau", "rab", "sor", "tri"),
                [
                    f"{kind}{i}"
                    for kind, last in (("b", 3), ("d", 2), ("l", 4), ("n", 5))
                    for i in range(1, last + 1)
                ],
            )
        ],
        dict.fromkeys(
            ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"), 84
        ),
        (3, 3),
        Clip("dis-f1-b1", "f1", "female", "disgust"),
        ["dis-x1-b1.wav", "col-f1-b1.wav", "03a01Fa.wav"],
    ),
    "ravdess": Listing(
        [
            f"Actor_{actor:02}/03-01-{emotion:02}-{level:02}-{text:02}-{take:02}-{actor:02}.wav"
            for actor, emotion, level, text, take in product(
                range(1, 25), range(1, 9), (1, 2), (1, 2), (1, 2)
            )
            if (emotion, level) != (1, 2)
        ]
        + ["Actor_01/03-02-05-01-01-01-01.wav"],
        dict.fromkeys(("anger", "calm", "disgust", "fear", "happiness", "sadness", "surprise"), 192)
        | {"neutral": 96},
        (12, 12),
        Clip("03-01-01-01-01-01-01", "01", "male", "neutral"),
        ["03-01-09-02-01-01-01.wav", "03-01-01-01-01-01-01-01.wav", "clip.wav"],
        {"song": 1},
    ),
    "savee": Listing(
        [
            f"AudioData/{speaker}/{emotion}{number:02}.wav"
            for speaker, emotion, number in product(
                ("DC", "JE", "JK", "KL"), ("a", "d", "f", "h", "n", "sa", "su"), range(1, 31)
            )
            if emotion == "n" or number <= 15
        ]
        + ["ALL/DC_a01.wav"],
        dict.fromkeys(("disgust", "fear", "happiness", "sadness", "surprise"), 60)
        | {"anger": 61, "neutral": 120},
        (0, 4),
        Clip("DC/a01", "DC", "male", "anger"),
        ["XX/a01.wav", "a01.wav", "DC/q01.wav"],
    ),
    "shemo": Listing(
        [
            f"{folder}/{folder[0].upper()}{speaker:02}{emotion}{number}.wav"
            for folder, speakers in (("female", 31), ("male", 56))
            for speaker in range(1, speakers + 1)
            for emotion, number in product("AFHNSW", ("01", "100"))
        ],
        dict.fromkeys(("anger", "fear", "happiness", "neutral", "sadness", "surprise"), 174),
        (31, 56),
        Clip("F01A01", "F01", "female", "anger"),
        ["F1A01.wav", "F01Q01.wav", "X01A01.wav"],
    ),
    "subesco": Listing(
        [
            f"SUBESCO/{gender}_{number:02}_OISHI_S_{sentence}_{emotion}_{take}.wav"
            for gender, number, sentence, emotion, take in product(
                "FM",
                range(1, 11),
                (1, 10),
                ("ANGRY", "DISGUST", "FEAR", "HAPPY", "NEUTRAL", "SAD", "SURPRISE"),
                (1, 5),
            )
        ]
        + ["SUBESCO/F_02_MONIKA_S_2_SURPRISE_3].wav"],
        dict.fromkeys(("anger", "disgust", "fear", "happiness", "neutral", "sadness"), 80)
        | {"surprise": 81},
        (10, 10),
        Clip("F_01_OISHI_S_1_ANGRY_1", "F_01", "female", "anger"),
        ["F_01_OISHI_S_10_BORED_5.wav", "F_OISHI_S_10_ANGRY_5.wav"],
    ),
    "tess": Listing(
        [
            f"{speaker}_{emotion}/{speaker}_{word}_{emotion}.wav"
            for speaker, word, emotion in product(
                ("OAF", "YAF"),
                ("back", "bar", "youth"),
                ("angry", "disgust", "fear", "happy", "neutral", "ps", "sad"),
            )
        ]
        + ["OAF_neutral/OA_bite_neutral.wav"],
        dict.fromkeys(("anger", "disgust", "fear", "happiness", "sadness", "surprise"), 6)
        | {"neutral": 7},
        (2, 0),
        Clip("OAF_back_angry", "OAF", "female", "anger"),
        ["OAF_back_bored.wav", "XXF_back_angry.wav"],
    ),
}


def read(corpus: Corpus, names: Iterable[str]) -> tuple[list[Clip], Counter[str]]:
    """Clips, and numbers of files that are left out."""
    results = [corpus.read(PurePath(name)) for name in names]
    return (
        [result for result in results if isinstance(result, Clip)],
        Counter(result for result in results if isinstance(result, str)),
    )


@pytest.mark.parametrize("name", LISTINGS)
def test_documented_names(name):
    listing = LISTINGS[name]

    clips, left_out = read(load_corpus(name), listing.names)

    assert clips[0] == listing.first
    assert len({clip.utterance_id for clip in clips}) == len(clips)
    assert Counter(clip.emotion for clip in clips) == listing.clips
    genders = Counter(gender for _, gender in {(clip.speaker, clip.gender) for clip in clips})
    assert (genders["female"], genders["male"]) == listing.speakers
    assert genders.total() == sum(listing.speakers)
    assert left_out == listing.left_out


@pytest.mark.parametrize(
    ("name", "path"),
    [(name, path) for name, listing in LISTINGS.items() for path in listing.refused],
)
def test_other_names_are_refused(name, path):
    with pytest.raises(InputError, match=f"^{path}: "):
        load_corpus(name).read(PurePath(path))


def test_known_corpora_are_tested_and_described_in_full():
    assert {*LISTINGS, "iemocap"} == {*known_corpora()}
    for name in known_corpora():
        corpus = load_corpus(name)
        assert all((corpus.title, corpus.language, corpus.licence, corpus.source)), name


PLACE = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_{}.wav"


@pytest.fixture
def tables(tmp_path) -> Path:
    """Label tables of IEMOCAP, with their header and the lines of single annotators."""
    folder = tmp_path / "Session1" / "dialog" / "EmoEvaluation"
    folder.mkdir(parents=True)
    turns = {"F000": "neu", "F001": "xxx", "M000": "exc"}
    (folder / "Ses01F_impro01.txt").write_text(
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
        + "".join(
            f"[6.2901 - 8.2357]\tSes01F_impro01_{turn}\t{code}\t[2.5000, 2.5000, 2.5000]\n"
            f"C-E2:\tNeutral;\t()\n"
            for turn, code in turns.items()
        )
    )
    return folder


def test_iemocap_reads_its_label_tables(tables, tmp_path):
    corpus = load_corpus("iemocap")
    emotions = corpus.read_tables(tmp_path)
    for other in (tmp_path / "Session1", tmp_path.parent):  # below and above the usual folder
        assert corpus.read_tables(other) == emotions

    read = [
        corpus.read(PurePath(name), emotions)
        for name in (
            PLACE.format("F000"),
            PLACE.format("F001"),
            PLACE.format("M000"),
            "Session1/dialog/wav/Ses01F_impro01.wav",
        )
    ]

    assert read == [
        Clip("Ses01F_impro01_F000", "01F", "female", "neutral"),
        "xxx",
        Clip("Ses01F_impro01_M000", "01M", "male", "happiness"),
        "whole dialogues",
    ]
    for name in (PLACE.format("F009"), "Session1/x.wav", "Ses01F_impro01.wav"):
        with pytest.raises(InputError, match=f"^{name}: "):
            corpus.read(PurePath(name), emotions)


def test_missing_and_contradictory_label_tables_are_errors(tables, tmp_path):
    corpus = load_corpus("iemocap")
    with pytest.raises(InputError, match="audio_dir: .*sentences lacks dialog/.* both them and"):
        corpus.read_tables(tmp_path / "Session1" / "sentences")

    for files in ("/labels/*.txt", "**labels/*.txt"):
        other = replace(corpus, tables=LabelTables(files, corpus.tables.pattern))
        with pytest.raises(InputError, match=r"tables\.files: .*labels/\*\.txt"):
            other.read_tables(tmp_path)
    (tables / "folder.txt").mkdir()
    with pytest.raises(InputError, match=r"^\S+folder\.txt: cannot be read"):
        corpus.read_tables(tmp_path)
    (tables / "folder.txt").rmdir()

    text = (tables / "Ses01F_impro01.txt").read_text()
    (tables / "copy.txt").write_text(text.replace("\tneu\t", "\tsad\t"))

    with pytest.raises(InputError, match=r"copy\.txt: Ses01F_impro01_F000 .*sad.*neu"):
        corpus.read_tables(tmp_path)


def test_all_names_of_demos(shared_reference):
    names = (shared_reference / "demos_filenames.txt").read_text().split()

    clips, _ = read(load_corpus("demos"), names)

    assert len({clip.utterance_id for clip in clips}) == len(names) == 9_697
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


@pytest.mark.parametrize(
    ("name", "clips", "speakers"), [("ravdess", 1440, 24), ("emovo", 588, 6), ("emodb", 423, 10)]
)
def test_all_names_of_real_corpora(name, clips, speakers, shared_corpora):
    folder = shared_corpora / name
    paths = [path for path in folder.rglob("*") if path.suffix in SUFFIXES]

    found, _ = read(load_corpus(name), [str(path.relative_to(folder)) for path in paths])

    assert len({clip.utterance_id for clip in found}) == clips
    assert len({clip.speaker for clip in found}) == speakers


MINE = {
    "title": "Mine",
    "pattern": r"(?P<who>\w+)_(?P<emotion>[a-z]+)",
    "speaker": "speaker {who}",
    "labels": {"ang": "anger", "hap": "happiness", "unsure": None},
    "example": "anna_ang.wav",
    "genders": {"female": ["speaker anna"]},
}


def write(folder: Path, **changes: object) -> str:
    path = folder / "mine.yaml"
    settings = {key: value for key, value in {**MINE, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def test_own_corpus_is_read_again_when_its_file_has_changed(tmp_path):
    corpus = load_corpus(write(tmp_path))

    clip = Clip("anna_hap", "speaker anna", "female", "happiness")
    assert corpus.read(PurePath("x/anna_hap.wav")) == clip
    assert corpus.read(PurePath("x/anna_unsure.wav")) == "unsure"
    assert load_corpus(write(tmp_path, genders=None)).read(PurePath("ben_ang.wav")).gender == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"title": None}, "title"),
        ({"pattern": r"(?P<who>\w+)"}, r"pattern .*\(\?P<emotion>"),
        ({"pattern": r"(?P<emotion>[a-z]+"}, "pattern .*regular expression"),
        ({"example": "anna.wav"}, "example .*received 'anna.wav'"),
        ({"labels": {"hap": "happiness"}}, "anna_ang.wav: .*'ang'.*labels.*hap"),
        ({"labels": {"ang": None}}, "labels must be"),
        ({"genders": {"woman": ["anna"]}}, "genders must be .*woman"),
        ({"genders": {"female": ["a", "b"], "male": ["b"]}}, r"genders must be .*once.*\['b'\]"),
        ({"genders": {"female": [1]}}, "anna_ang.wav: .*'speaker anna'.*genders.*'1'"),
        ({"speaker": "{voice}"}, "speaker must be .*received '{voice}'"),
        ({"speaker": "{who:>{emotion}}"}, "speaker must be .*received '{who:>{emotion}}'"),
        ({"speaker": "{speaker"}, "speaker must be .*received '{speaker'"),
        ({"ignore": "songs/.*"}, "ignore: must be lines of NAME: VALUE; received 'songs/"),
        ({"genders": {"female": "anna"}}, "genders.female: must be a list .*'anna'"),
        ({"language": ["Italian"]}, "language: Cannot convert .*Italian"),
        ({"download": {"url": "x"}}, "download.megabytes: is missing"),
        ({"ignore": {"song": "("}}, "ignore.song .*regular expression"),
        ({"splits": {"paper": [{"train": "1 2"}]}}, "splits.paper .*val"),
        ({"tables": {"files": "*.txt", "pattern": "(?P<name>x)"}}, "tables.pattern must be"),
        ({"labels": {1: "anger"}}, "labels: keys .*put quotes around 1"),
    ],
)
def test_mistakes_name_file_key_and_value(changes, message, tmp_path):
    with pytest.raises(InputError, match=rf"^mine\.yaml: .*{message}"):
        load_corpus(write(tmp_path, **changes))


@pytest.mark.parametrize("name", ["paint", "none.yaml"])
def test_unknown_corpus_lists_the_known_ones(name):
    with pytest.raises(InputError, match=rf"crema_d, .*{name}|{name}.* crema_d, "):
        load_corpus(name)
