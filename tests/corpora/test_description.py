"""What the YAML files of corpora read from names that these corpora are documented to have."""

from pathlib import Path, PurePath

import pytest
import yaml

from ser_nsl.corpora.description import KNOWN, Clip, Corpus, known_corpora, load_corpus
from ser_nsl.errors import InputError

CLIPS = {
    "cafe": {
        "Colère/Faible/01-C-1-1.wav": ("01-C-1-1", "01", "male", "anger"),
        "Neutre/12-N-1-6.wav": ("12-N-1-6", "12", "female", "neutral"),
        "Joie/Fort/02-J-2-3.aiff": ("02-J-2-3", "02", "female", "happiness"),
    },
    "crema_d": {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("1001_DFA_ANG_XX", "1001", "male", "anger"),
        "1002_IEO_HAP_HI.wav": ("1002_IEO_HAP_HI", "1002", "female", "happiness"),
        "1040_ITH_SAD_X.wav": ("1040_ITH_SAD_X", "1040", "male", "sadness"),
        "1091_WSI_NEU_XX.wav": ("1091_WSI_NEU_XX", "1091", "female", "neutral"),
    },
    "demos": {
        "DEMOS/PR_f_01_col01a.wav": ("PR_f_01_col01a", "01", "female", "guilt"),
        "DEMOS/NP_m_68_sor12c.wav": ("NP_m_68_sor12c", "68", "male", "surprise"),
        "NEU/m_11_neu00a.wav": ("m_11_neu00a", "11", "male", "neutral"),
    },
    "emodb": {
        "wav/03a01Fa.wav": ("03a01Fa", "03", "male", "happiness"),
        "08b10Wd.wav": ("08b10Wd", "08", "female", "anger"),
        "16a05L.wav": ("16a05L", "16", "female", "boredom"),
    },
    "emodb2": {
        "wav/03a01Fa.wav": ("03a01Fa", "03", "male", "happiness"),
        "audio/13b09Taxx.wav": ("13b09Taxx", "13", "female", "sadness"),
        "laryngo/03a01Fa.wav": None,
    },
    "emovo": {
        "f1/dis-f1-b1.wav": ("dis-f1-b1", "f1", "female", "disgust"),
        "tri-m3-n4.wav": ("tri-m3-n4", "m3", "male", "sadness"),
        "neu-f2-l1.wav": ("neu-f2-l1", "f2", "female", "neutral"),
    },
    "ravdess": {
        "Actor_01/03-01-05-02-01-01-01.wav": ("03-01-05-02-01-01-01", "01", "male", "anger"),
        "03-01-02-01-02-02-24.flac": ("03-01-02-01-02-02-24", "24", "female", "calm"),
    },
    "savee": {
        "AudioData/DC/a01.wav": ("DC/a01", "DC", "male", "anger"),
        "KL/su15.wav": ("KL/su15", "KL", "male", "surprise"),
        "JE_sa03.wav": ("JE_sa03", "JE", "male", "sadness"),
        "JK/n30.wav": ("JK/n30", "JK", "male", "neutral"),
    },
    "shemo": {
        "female/F01A01.wav": ("F01A01", "F01", "female", "anger"),
        "M56W12.wav": ("M56W12", "M56", "male", "surprise"),
        "M03N100.wav": ("M03N100", "M03", "male", "neutral"),
    },
    "subesco": {
        "F_01_OISHI_S_10_ANGRY_5.wav": ("F_01_OISHI_S_10_ANGRY_5", "F_01", "female", "anger"),
        "M_10_JAHID_S_1_SURPRISE_2.wav": ("M_10_JAHID_S_1_SURPRISE_2", "M_10", "male", "surprise"),
    },
    "tess": {
        "OAF_angry/OAF_back_angry.wav": ("OAF_back_angry", "OAF", "female", "anger"),
        "YAF_pleasant_surprised/YAF_young_ps.wav": ("YAF_young_ps", "YAF", "female", "surprise"),
        "OA_bite_neutral.wav": ("OA_bite_neutral", "OAF", "female", "neutral"),
    },
}
FOREIGN = {
    "cafe": ["01-X-1-1.wav", "1-C-1-1.wav"],
    "crema_d": ["1001_DFA_ANG.wav", "1001_DFA_BOR_XX.wav"],
    "demos": ["PR_x_01_col01a.wav", "PR_f_01_xyz01a.wav"],
    "emodb": ["03a01Za.wav", "01a01Fa.wav", "03a01Faxx.wav"],
    "emodb2": ["03a01Faxxx.wav"],
    "emovo": ["dis-x1-b1.wav", "xyz-f1-b1.wav"],
    "iemocap": ["Session1/dialog.wav"],
    "ravdess": ["03-02-05-02-01-01-01.wav", "03-01-09-02-01-01-01.wav", "clip.wav"],
    "savee": ["XX/a01.wav", "a01.wav", "DC/q01.wav"],
    "shemo": ["F1A01.wav", "F01Q01.wav"],
    "subesco": ["F_01_OISHI_S_10_BORED_5.wav", "F_OISHI_S_10_ANGRY_5.wav"],
    "tess": ["OAF_back_bored.wav", "XXF_back_angry.wav"],
}


@pytest.mark.parametrize("name", CLIPS)
def test_documented_names(name):
    corpus = load_corpus(name)

    read = {path: corpus.read(PurePath(path)) for path in CLIPS[name]}

    assert read == {path: clip and Clip(*clip) for path, clip in CLIPS[name].items()}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_names_and_emotions_are_refused(name):
    for path in FOREIGN[name]:
        with pytest.raises(InputError, match=f"^{path}: "):
            load_corpus(name).read(PurePath(path), {})


def test_iemocap_reads_its_label_tables(tmp_path):
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
    corpus = load_corpus("iemocap")
    place = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_{}.wav"

    emotions = corpus.read_tables(tmp_path)
    read = [corpus.read(PurePath(place.format(turn)), emotions) for turn in turns]

    assert read == [
        Clip("Ses01F_impro01_F000", "01F", "female", "neutral"),
        None,
        Clip("Ses01F_impro01_M000", "01M", "male", "happiness"),
    ]
    assert corpus.read(PurePath("Session1/dialog/wav/Ses01F_impro01.wav"), emotions) is None
    with pytest.raises(InputError, match="F009.wav: has no entry"):
        corpus.read(PurePath(place.format("F009")), emotions)
    with pytest.raises(InputError, match="audio_dir: .* lacks Session"):
        corpus.read_tables(tmp_path / "Session1")


def test_known_corpora_are_described_in_full():
    assert {*CLIPS, "iemocap"} == {*known_corpora()}
    for name in known_corpora():
        corpus = load_corpus(name)
        assert all((corpus.title, corpus.language, corpus.licence, corpus.source)), name
        assert corpus.genders, name


def test_crema_d_lists_each_of_its_91_actors_once():
    genders = load_corpus("crema_d").genders

    assert (len(genders["female"]), len(genders["male"])) == (43, 48)
    assert sorted(genders["female"] + genders["male"]) == [str(i) for i in range(1001, 1092)]


def test_every_demos_name_is_read(shared_reference):
    names = (shared_reference / "demos_filenames.txt").read_text().split()

    clips = [load_corpus("demos").read(PurePath(name)) for name in names]

    assert len({clip.utterance_id for clip in clips}) == 9_697
    assert len({clip.speaker for clip in clips}) == 68


MINE = {
    "title": "Mine",
    "pattern": r"(?P<speaker>\w+)_(?P<emotion>[a-z]+)",
    "labels": {"ang": "anger", "hap": "happiness"},
    "example": "anna_ang.wav",
}


def write(folder: Path, **changes: object) -> str:
    path = folder / "mine.yaml"
    settings = {key: value for key, value in {**MINE, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(settings))
    return str(path)


def test_a_corpus_of_ones_own(tmp_path):
    corpus = load_corpus(write(tmp_path, speakers={"an": "anna"}, genders={"female": ["anna"]}))

    assert corpus.read(PurePath("x/an_hap.wav")) == Clip("an_hap", "anna", "female", "happiness")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour"),
        ({"pattern": r"(?P<speaker>\w+)"}, r"pattern must be with the group \(\?P<emotion>"),
        ({"pattern": r"(?P<emotion>[a-z]+"}, "pattern must be a regular expression"),
        ({"labels": {"hap": "happiness"}}, r"anna_ang.wav: unknown emotion 'ang'"),
        ({"labels": {"ang": None}}, "labels must be a mapping"),
        ({"example": "anna.wav"}, "example must match the pattern .* received anna.wav"),
        ({"genders": {"woman": ["anna"]}}, "genders must be .* received .*woman"),
        ({"speaker": "{voice}"}, "speaker must be .* received '{voice}'"),
        ({"ignore": "("}, "ignore must be a regular expression"),
        ({"title": None}, "title"),
        ({"tables": {"files": "*.txt", "pattern": "(?P<name>x)"}}, "tables.pattern must be"),
    ],
)
def test_mistakes_in_a_description_are_told_with_file_and_key(changes, message, tmp_path):
    with pytest.raises(InputError, match=rf"mine\.yaml: .*{message}"):
        load_corpus(write(tmp_path, **changes))


def test_unknown_corpus_lists_the_known_ones():
    with pytest.raises(InputError, match="crema_d, .* received 'paint'"):
        load_corpus("paint")


def test_examples_of_names_lie_in_no_subfolder_of_the_package():
    assert {path.suffix for path in KNOWN.iterdir()} == {".yaml"}
    assert isinstance(load_corpus("tess"), Corpus)
