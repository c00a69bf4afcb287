"""What was found in a corpus, and what looks wrong with it, each with the line that settles it."""

import re
import shlex
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

import pandas as pd

SHOWN = 12
"""Speakers or emotions of a line, as far as they are listed."""

_FEW_CLIPS = 3
_EMOTIONS = frozenset(
    """
    anger angry rage furious happiness happy joy joyful sadness sad grief fear fearful afraid
    scared disgust disgusted surprise surprised neutral calm boredom bored contempt excitement
    excited frustration frustrated anxiety anxious guilt shame pride love hate amusement relief
    wut ärger freude trauer angst ekel überraschung langeweile rabbia gioia tristezza paura
    disgusto sorpresa noia neutro neutrale colère joie tristesse peur dégoût neutre
    ira enojo alegría tristeza miedo asco raiva alegria medo nojo boos blij verdrietig bang
    gniew radość smutek strach öfke mutluluk üzüntü korku гнев злость радость грусть печаль страх
    отвращение удивление 怒り 喜び 悲しみ 愤怒 生气 高兴 快乐 悲伤 害怕 恐惧 中性
    """.split()  # noqa: SIM905 (words read better without quotes)
)
_PLACES = re.compile(
    r"((train|training|tests?|testing|val|valid|validation|dev|devel|eval|evaluation|holdout|"
    r"splits?|partitions?|audios?|wavs?|mp3|flac|ogg|data|datasets?|corpus|corpora|clips?|speech|"
    r"voices?|recordings?|files?|sounds?|samples?|raw|processed|folds?|parts?|sets?|disc|cd|"
    r"batch)[ _-]*\d*[ _-]*)+",
    re.IGNORECASE,
)
_PEOPLE = re.compile(r"(session|actor|speaker|subject|participant)[ _-]*\d*", re.IGNORECASE)
_MARKS = "[](){}'\"` "  # that surround a label where a program wrote a list or a quoted text
_JOINERS = "\u200c\u200d"  # hidden, but part of how words of Persian and emoji are written
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")
_UNKNOWN = frozenset(
    ("nan", "none", "null", "na", "n/a", "unknown", "unk", "undefined", "unlabelled", "unlabeled")
    + ("missing", "other", "?", "-", "xxx")
)
_GENDERS = {
    "female": "f fem female w woman women girl weiblich frau femme féminin feminin donna femmina "
    "femminile mujer feminino femenino vrouw vrouwelijk kvinna kvinde kobieta kadın ж женский "
    "женщина 女 女性 ♀",
    "male": "m masc male man men boy männlich mann homme masculin uomo maschio maschile hombre "
    "masculino mannelijk mand mężczyzna erkek м мужской мужчина 男 男性 ♂",
}
_GENDER_OF = {word: gender for gender, words in _GENDERS.items() for word in words.split()}


def tidy(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Writes emotions, speakers and genders in one way, as far as their spelling leaves no choice.

    Args:
        rows: Columns `emotion`, `speaker` and `gender`, text.

    Returns:
        The rows, in which spaces around, doubled spaces and hidden characters are gone, letters
        with accents are single characters, and genders are `female`, `male` or empty; and what was
        changed, unless it was a gender that was understood.

    Example:
        >>> rows = pd.DataFrame({"emotion": ["joy"], "speaker": ["anna "], "gender": ["W"]})
        >>> tidied, said = tidy(rows)
        >>> tidied.loc[0].to_list()
        ['joy', 'anna', 'female']
        >>> said
        ["speaker: spaces or hidden characters were taken from 'anna '."]
    """
    rows, said = rows.copy(), []
    for column in ("emotion", "speaker", "gender"):
        given = rows[column].str.normalize("NFC")
        rows[column] = given.map(as_shown)
        changed = [repr(text) for text in given[given != rows[column]].unique()]
        if changed:
            said.append(f"{column}: spaces or hidden characters were taken from {listed(changed)}.")
    words = rows["gender"].str.casefold().str.rstrip(".")
    unread = rows.loc[~words.isin([*_GENDER_OF, *_UNKNOWN, ""]), "gender"].unique()
    if len(unread):
        said.append(
            f"gender: {listed(unread)} is not understood and counts as unknown; write female or "
            "male if it is one of them."
        )
    rows["gender"] = words.map(_GENDER_OF).fillna("")
    return rows, said


def tell_apart(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Adds the suffix to the ids of files whose names differ in nothing else.

    Args:
        rows: Columns `path` and `utterance_id`.

    Returns:
        The rows; and at most one sentence about those files, which may be copies.

    Example:
        >>> paths = ["joy/1.flac", "joy/1.mp3"]
        >>> rows = pd.DataFrame({"path": paths, "utterance_id": "joy/1"})
        >>> tell_apart(rows)[0]["utterance_id"].to_list()
        ['joy/1.flac', 'joy/1.mp3']
    """
    shared = rows["utterance_id"].duplicated(keep=False)
    if not shared.any():
        return rows, []
    twins = rows.loc[shared, "path"]
    ids = rows["utterance_id"].where(~shared, rows["utterance_id"] + twins.map(_suffix))
    return rows.assign(utterance_id=ids), [
        f"{len(twins):,} files have names that differ in the suffix only: {listed([*twins])}. All "
        "are read, each with its suffix in the id; if they are one recording in several formats, "
        "remove all but one."
    ]


def _suffix(path: str) -> str:
    return PurePath(path).suffix


def as_shown(text: str) -> str:
    """Returns a text as one sees it: without spaces around, doubled ones and hidden characters.

    Spreadsheets, web pages and wrong encodings leave hidden ones, such as zero-width spaces. They
    make two emotions of one, and a recogniser must not have them in its labels.
    """
    shown = (
        c
        for c in text
        if c.isspace() or c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf")
    )
    return " ".join("".join(shown).split())


def listed(names: Iterable[str], most: int = 3, between: str = ", ") -> str:
    """Lists names in a line that can be read, however many there are.

    Args:
        names: Any number of names.
        most: How many are shown.
        between: What stands between them.

    Returns:
        The first ones, and how many more there are.

    Example:
        >>> listed(["anna", "ben", "cleo", "dan", "eve"])
        'anna, ben, cleo and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def describe(rows: pd.DataFrame) -> list[str]:
    """Says what was found.

    Args:
        rows: Columns `emotion`, `speaker` and `gender`.

    Returns:
        Lines with the emotions and the speakers, with their numbers of clips.

    Example:
        >>> emotions = ["joy", "joy", "fear"]
        >>> rows = pd.DataFrame({"emotion": emotions, "speaker": "anna", "gender": ""})
        >>> describe(rows)
        ['2 emotions: joy 2, fear 1', '1 speaker: anna 3']
    """
    lines = []
    for column in ("emotion", "speaker"):
        counts = rows.loc[rows[column] != "", column].value_counts()
        line = f"{len(counts):,} {column}{'' if len(counts) == 1 else 's'}"
        if len(counts):
            line += ": " + listed([f"{name} {count:,}" for name, count in counts.items()], SHOWN)
        without = len(rows) - counts.sum()
        lines.append(line + (f"; {without:,} clips without" if without else ""))
    known = rows[(rows["gender"] != "") & (rows["speaker"] != "")]
    people = known.drop_duplicates("speaker")["gender"].value_counts()
    if len(people):
        lines[-1] += f"; {', '.join(f'{count:,} {gender}' for gender, count in people.items())}"
    return lines


def doubts(rows: pd.DataFrame, audio_dir: Path, *, is_table: bool) -> list[str]:
    """Says what looks wrong in the emotions and speakers that were found.

    Args:
        rows: Columns `emotion`, `speaker` and `gender`, after all changes that a user asked for.
        audio_dir: The audio root, for advice.
        is_table: Whether the rows come from a table, for advice.

    Returns:
        Sentences, each with what to type or do if the doubt is right.

    Example:
        >>> rows = pd.DataFrame({"emotion": ["Joy", "joy", "fear"], "speaker": "", "gender": ""})
        >>> for doubt in doubts(rows, Path("audio"), is_table=False)[:1]:
        ...     print(doubt)
        emotions Joy, joy differ only in case, spaces or dashes: --label-map joy Joy
    """
    return [*_doubts_of_emotions(rows, audio_dir, is_table), *_doubts_of_speakers(rows, is_table)]


def spelt_alike(rows: pd.DataFrame) -> Iterator[list[str]]:
    """Finds emotions and speakers that differ in case, dashes or leading zeros only.

    Args:
        rows: Columns `emotion` and `speaker`.

    Yields:
        Names that may be one, three at most.

    Example:
        >>> rows = pd.DataFrame({"emotion": ["Joy", "joy", "fear"], "speaker": ["1", "01", "2"]})
        >>> list(spelt_alike(rows))
        [['Joy', 'joy'], ['1', '01']]
    """
    emotions = [name for name in rows["emotion"].unique() if not _NUMBER.fullmatch(name)]
    for same in [*_alike(emotions, _emotion_key), *_alike(rows["speaker"].unique(), _speaker_key)]:
        yield same[:3]


def doubts_of_sounds(rows: pd.DataFrame) -> list[str]:
    """Says which clips are the same sound.

    Args:
        rows: Columns `utterance_id`, `emotion`, `split` and `sound`, which is equal for equal
            samples.

    Returns:
        At most one sentence.
    """
    copies = rows[rows["sound"].duplicated(keep=False)]
    if copies.empty:
        return []
    groups = copies.groupby("sound", sort=False)
    examples = [listed(group["utterance_id"], between=" = ") for _, group in groups]
    worse = [
        f"{count:,} with {what}"
        for what, count in (
            ("different emotions", (groups["emotion"].nunique() > 1).sum()),
            ("different splits", (groups["split"].nunique() > 1).sum()),
        )
        if count
    ]
    return [
        f"{len(groups):,} sounds are there under several ids"
        + (f" ({', '.join(worse)})" if worse else "")
        + f": {listed(examples)}. Remove the copies, or list the clips to read in a table "
        "(--corpus csv --table FILE)."
    ]


def _doubts_of_emotions(rows: pd.DataFrame, audio_dir: Path, is_table: bool) -> Iterator[str]:
    counts = rows.loc[rows["emotion"] != "", "emotion"].value_counts()
    emotions = [*counts.index]
    genders = _genders_among(emotions)
    places = [name for name in emotions if _PLACES.fullmatch(name)]
    folders = [name for name in emotions if _is_no_emotion(name) or name in genders]
    speakers = rows["speaker"].unique()
    swapped = _are_emotions(speakers)
    outer = "gender" if genders else "speaker"
    if is_table:
        advice = "choose the columns: --columns emotion COLUMN speaker COLUMN"
    elif genders or (swapped and not places and len(emotions) > 1):
        advice = (
            f"describe {outer.upper()}/EMOTION/FILE in a --corpus YAML file, with the pattern "
            f"'(?P<{outer}>[^/]+)/(?P<emotion>[^/]+)/[^/]+'"
        )
    elif any(speakers) and (places or len(emotions) == 1):
        inner = audio_dir / (places or emotions)[0]
        advice = (
            f"give the folder of the emotions, --audio-dir {inner}, a --corpus YAML file, or a "
            "table of all clips, with their splits if you like (--corpus csv --table FILE)"
        )
    else:  # no folder below is one of emotions
        advice = (
            "describe the names of the files in a --corpus YAML file, or list the clips in a table "
            "(--corpus csv --table FILE)"
        )
    if folders:
        yield f"{listed(folders)}: by their names no emotions; {advice}"
    if swapped:
        yield f"{listed(_emotion_words(speakers))}: by their names emotions, not speakers; {advice}"
    if len(emotions) == 1:
        yield f"{emotions[0]} is the only emotion, and training needs two" + (
            "" if folders or swapped else f"; add clips of another, or {advice}"
        )
    numbers = [name for name in emotions if _NUMBER.fullmatch(name)]
    if numbers:
        pairs = _values(f"{name} NAME" for name in sorted(numbers))
        yield f"{listed(numbers)}: emotions that are numbers; name them: --label-map {pairs}"
    names = [name for name in emotions if name not in numbers]
    for same in _alike(names, _emotion_key):
        pairs = _values(f"{_quoted(name)} {_quoted(same[0])}" for name in same[1:])
        yield f"emotions {listed(same)} differ only in case, spaces or dashes: --label-map {pairs}"
    marked = [name for name in names if name.strip(_MARKS) not in (name, "")]
    if marked:
        pairs = _values(f"{_quoted(name)} {_quoted(name.strip(_MARKS))}" for name in marked)
        yield f"emotions {listed(marked)} have brackets or quotes around: --label-map {pairs}"
    first = {_emotion_key(name): name for name in reversed(names)}.values()
    several = [name for name in first if len(_words_for_emotions(name)) > 1]
    if several:
        name, left = several[0], _values(map(_quoted, several))
        yield (
            f"{listed(several)}: several emotions in one label; choose one (--label-map "
            f"{_quoted(name)} {_words_for_emotions(name)[0]}) or leave out (--leave-out {left})"
        )
    groups = _alike_words(name for name in first if name not in several)
    related = [(name, word) for word in groups for name in groups[word] if name != word]
    if related:
        pairs = _values(f"{_quoted(name)} {_quoted(word)}" for name, word in related)
        yield (
            f"emotions {listed(name for name, _ in related)} share a word with others; if each "
            f"word is one emotion: --label-map {pairs}"
        )
    unknown = [name for name in emotions if name.casefold() in _UNKNOWN]
    if unknown:
        left = _values(map(_quoted, unknown))
        empty = _values(f"{_quoted(name)} ''" for name in unknown)
        yield (
            f"{listed(unknown)}: an emotion that means unknown; leave these clips out: --leave-out "
            f"{left}, or let them be unlabelled: --label-map {empty}"
        )
    rare = [] if len(emotions) == 1 else [*counts.index[counts < _FEW_CLIPS]]
    if rare:
        yield (
            f"{listed(rare)}: fewer than {_FEW_CLIPS} clips, too few to train and test; rename "
            f"(--label-map {_quoted(rare[0])} OTHER) or leave out (--leave-out {_quoted(rare[0])})"
        )


def _doubts_of_speakers(rows: pd.DataFrame, is_table: bool) -> Iterator[str]:
    known = rows[rows["speaker"] != ""]
    counts = known["speaker"].value_counts()
    where = "the table" if is_table else "the names"
    genders = _genders_among([*counts.index])
    if genders:
        yield (
            f"speakers {listed(genders)}: by their names genders, not speakers, so that each would "
            "stand in one split; find the speakers with --speaker-pattern '(?P<speaker>...)'"
        )
    places = [name for name in counts.index if _PLACES.fullmatch(name)]
    if 2 * len(places) > len(counts):  # one may be called Dev
        yield (
            f"speakers {listed(places)}: by their names folders, not speakers; find the speakers "
            "with --speaker-pattern '(?P<speaker>...)', or list the clips in a table, with their "
            "splits if you like (--corpus csv --table FILE)"
        )
    for same in _alike([*counts.index], _speaker_key):
        yield (
            f"speakers {listed(same)} may be one, and would then stand in several splits: write "
            f"them alike in {where}, or find them with --speaker-pattern '(?P<speaker>...)'"
        )
    kinds = known[known["gender"] != ""].groupby("speaker")["gender"].nunique()
    both = [*kinds.index[kinds > 1]]
    if both:
        yield (
            f"speakers {listed(both)} are of both genders: two people of one name? Tell them apart "
            f"in {where}, or with --speaker-pattern '(?P<speaker>...)'"
        )
    labelled = known[known["emotion"] != ""].groupby("speaker")["emotion"]
    single = [*labelled.nunique().index[(labelled.nunique() == 1) & (labelled.size() > 1)]]
    if single and rows["emotion"].nunique() > 1:
        yield (
            f"speakers {listed(single)} have one emotion only, so that voices give it away; leave "
            "out centring by speaker (--set center=null), and see whether these are speakers "
            "(--speaker-pattern)"
        )


def _speaker_key(name: str) -> str:
    """What speakers have in common who differ in case, spaces, dashes or leading zeros."""
    parts = re.findall(r"(\d+)|([^\W\d_]+)", name.casefold())  # numbers stay apart: 1_2 is not 12
    return "".join(f"<{int(number)}>" if number else word for number, word in parts) or name


def _emotion_key(name: str) -> str:
    """What emotions have in common that differ in case, spaces or dashes."""
    return re.sub(r"[\s_-]+", "", name.casefold())


def _genders_among(names: Sequence[str]) -> list[str]:
    """The names that are words for a gender, where all are, or both have one: Donna is a name."""
    found = [name for name in names if name.casefold() in _GENDER_OF]
    words = {_GENDER_OF[name.casefold()] for name in found if len(name) > 1}
    return found if len(found) == len(names) or len(words) == len(_GENDERS) else []


def _is_no_emotion(name: str) -> bool:
    """Whether it is called like a folder, or numbered as speakers and codes are."""
    is_folder = _PLACES.fullmatch(name) or _PEOPLE.fullmatch(name)
    is_numbered = re.search(r"\d", name) and not _NUMBER.fullmatch(name)
    return bool(is_folder or (is_numbered and not _words_for_emotions(name)))


def _words_for_emotions(name: str) -> list[str]:
    """The known words for emotions in a name, in its order."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    return [*dict.fromkeys(word for word in words if word in _EMOTIONS)]


def _alike_words(names: Iterable[str]) -> dict[str, list[str]]:
    """From each word for an emotion to the names that hold it, where several do."""
    groups: dict[str, list[str]] = {}
    for name in names:
        for word in _words_for_emotions(name):
            groups.setdefault(word, []).append(name)
    return {word: group for word, group in sorted(groups.items()) if len(group) > 1}


def _alike(names: Iterable[str], key: Callable[[str], str]) -> list[list[str]]:
    """Groups of names with one key, in the order given."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _emotion_words(names: Iterable[str]) -> list[str]:
    return [name for name in names if re.sub(r"[\W\d_]+", "", name.casefold()) in _EMOTIONS]


def _are_emotions(speakers: Iterable[str]) -> bool:
    """Whether most are; one may be called Joy."""
    named = [name for name in speakers if name]
    return 2 * len(_emotion_words(named)) > len(named)


def _quoted(name: str) -> str:
    return shlex.quote(name) if re.search(r"[^\w./-]", name) or not name else name


def _values(words: Iterable[str]) -> str:
    """What follows a flag; of many words the first ones, since a line is to be read."""
    return listed(words, SHOWN, between=" ")
