"""A corpus as data: one YAML file describes its file names, emotions, speakers and licence.

`ser_nsl/corpora/known` has a file for each known corpus; a user's own file works the same way.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path, PurePath
from string import Formatter
from typing import TypeVar

from ser_nsl.corpora.settings import SPLITS
from ser_nsl.errors import InputError
from ser_nsl.pipeline.settings import check, read_settings

KNOWN = Path(str(resources.files("ser_nsl.corpora") / "known"))
_MANY = 50  # clips whose names are enough to know a corpus
Function = TypeVar("Function", bound=Callable)


@dataclass(frozen=True)
class Clip:
    """What the path of an audio file says about it.

    Attributes:
        utterance_id: Unique in the corpus.
        speaker: Empty where unknown.
        gender: `female`, `male` or empty.
        emotion: Empty for a clip without a label.
    """

    utterance_id: str
    speaker: str
    gender: str
    emotion: str


@dataclass(frozen=True)
class Download:
    """An archive that holds a whole corpus.

    Attributes:
        url: Address of the zip file.
        megabytes: Its approximate size in 10^6 bytes.
        citation: The publication to cite.
        checksum: `algorithm:hex digits` as published by the authors; None where they publish none.
    """

    url: str
    megabytes: int
    citation: str
    checksum: str | None = None


@dataclass(frozen=True)
class LabelTables:
    """Text files that hold the emotions, for corpora whose file names do not.

    Attributes:
        files: Glob pattern of the tables, for the end of their paths.
        pattern: Regular expression of an entry, with the groups `name` (the audio file's name
            without suffix) and `emotion`.
    """

    files: str
    pattern: str


@dataclass(frozen=True)
class Corpus:
    r"""How to read the file names of a corpus.

    Attributes:
        title: Name of the corpus.
        pattern: Regular expression for a clip's path without suffix. It must match the file name,
            or with folders where it contains a slash; what it matches is the utterance id. Named
            groups: `emotion` (needed unless there are `tables`), `speaker`, `gender`, and any that
            the setting `speaker` uses.
        labels: From each code of an emotion to its name. Clips of a code that maps to null are
            left out.
        example: Path of a clip that the pattern matches, relative to the audio root.
        language: Language of the speakers.
        licence: Terms of use.
        source: Where to get the corpus.
        speaker: Format of a speaker's id, made of groups of the pattern.
        genders: `female` and `male`, each with its codes in the group `gender`, or with its
            speakers where the pattern has no such group.
        ignore: Files that are no clips, such as songs or copies: what they are, each with a regular
            expression that works like `pattern`.
        tables: Text files with the emotions, if file names do not have them.
        splits: Published divisions of the speakers, in lists by the `method` of `SplitConfig`
            (`paper`, `emobox` or `count-equivalent`); each has the speakers of train, val and
            test, separated by spaces.
        download: The archive, for corpora that anybody may download.

    Example:
        >>> corpus = Corpus(
        ...     title="Mine",
        ...     pattern=r"(?P<speaker>\w+)_(?P<emotion>[a-z]+)_\d+",
        ...     labels={"ang": "anger", "hap": "happiness"},
        ...     example="session1/anna_ang_07.wav",
        ... )
        >>> corpus.read(PurePath("session2/ben_hap_12.wav"))
        Clip(utterance_id='ben_hap_12', speaker='ben', gender='', emotion='happiness')
    """

    title: str
    pattern: str
    labels: dict[str, str | None]
    example: str
    language: str = ""
    licence: str = ""
    source: str = ""
    speaker: str = "{speaker}"
    genders: dict[str, list[str]] = field(default_factory=dict)
    ignore: dict[str, str] = field(default_factory=dict)
    tables: LabelTables | None = None
    splits: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    download: Download | None = None

    def __post_init__(self) -> None:
        groups = named_groups(self.pattern, "pattern") | {"speaker"}
        if self.tables is not None:
            found = named_groups(self.tables.pattern, "tables.pattern")
            needed = {"name", "emotion"}
            check(needed <= found, "tables.pattern", "with the groups name and emotion", found)
        else:
            check("emotion" in groups, "pattern", "with the group (?P<emotion>...)", self.pattern)
        for kind, pattern in self.ignore.items():
            named_groups(pattern, f"ignore.{kind}")
        try:
            fields = [field for field in Formatter().parse(self.speaker) if field[1] is not None]
            used = {self.speaker if spec or how else name for _, name, spec, how in fields}
        except ValueError:  # a brace that is not closed
            used = {self.speaker}
        check(used <= groups, "speaker", f"made of the groups {sorted(groups)}", self.speaker)
        check(any(self.labels.values()), "labels", "a mapping of codes to emotions", self.labels)
        genders = set(self.genders)
        check(genders <= {"female", "male"}, "genders", "lists of female and male", genders)
        codes = [code for listed in self.genders.values() for code in listed]
        twice = [code for code in codes if codes.count(code) > 1]
        check(not twice, "genders", "lists that have each code or speaker once", twice[:1])
        for method, divisions in self.splits.items():
            complete = all(set(division) == set(SPLITS) for division in divisions)
            check(complete, f"splits.{method}", f"a list of speakers of {SPLITS}", divisions)
        matches = _match(self.pattern, PurePath(self.example)) is not None
        check(matches, "example", f"a match of the pattern {self.pattern}", self.example)
        if self.tables is None:
            self.read(PurePath(self.example))

    def read(self, path: PurePath, emotions: Mapping[str, str] | None = None) -> Clip | str:
        """Reads the name of a clip.

        Args:
            path: Path of the clip, relative to the audio root.
            emotions: From names of clips to the codes of their emotions, as `read_tables` returns
                them; needed for corpora with `tables`.

        Returns:
            The clip, or what it is if the description leaves it out: a key of `ignore`, or the
            code of an emotion that maps to null.

        Raises:
            InputError: If the pattern does not match, or emotion or gender is unknown.
        """
        for kind, pattern in self.ignore.items():
            if _match(pattern, path):
                return kind
        match = _match(self.pattern, path)
        if match is None:
            raise InputError(f"{path}: a clip of {self.title} has a name like {self.example}.")
        groups = {"speaker": ""} | match.groupdict("")
        if self.tables is not None:
            if path.stem not in (emotions or {}):
                raise InputError(f"{path}: has no entry in the tables {self.tables.files}.")
            groups["emotion"] = (emotions or {})[path.stem]
        code = groups["emotion"]
        if code not in self.labels:
            raise InputError(
                f"{path}: unknown emotion {code!r}; the labels of {self.title} are "
                f"{', '.join(self.labels)}."
            )
        emotion = self.labels[code]
        if emotion is None:
            return code
        speaker = self.speaker.format_map(groups)
        code = groups.get("gender") or speaker
        gender = next((name for name, codes in self.genders.items() if code in codes), "")
        if self.genders and code and not gender:
            raise InputError(
                f"{path}: unknown gender of {code!r}; the genders of {self.title} are "
                f"{self.genders} (codes of digits need quotes)."
            )
        return Clip(match[0], speaker, gender, emotion)

    def read_tables(self, audio_dir: Path) -> dict[str, str]:
        """Reads the tables of emotions.

        Args:
            audio_dir: The audio root.

        Returns:
            From names of clips to the codes of their emotions; empty for corpora without tables.

        Raises:
            InputError: If their pattern is none, there are no tables at any depth, one cannot be
                read, or they give a clip two emotions.
        """
        emotions: dict[str, str] = {}
        if self.tables is None:
            return emotions
        try:
            paths = sorted(Path(audio_dir).rglob(self.tables.files))
        except (NotImplementedError, ValueError) as error:
            raise InputError(
                f"tables.files: must be a glob pattern below audio_dir, such as labels/*.txt "
                f"({error}); received {self.tables.files!r}."
            ) from error
        if not paths:
            raise InputError(
                f"audio_dir: {audio_dir} lacks {self.tables.files}, where {self.title} has its "
                "emotions; give a folder that holds both them and the clips."
            )
        for path in paths:
            try:
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
            for entry in re.finditer(self.tables.pattern, text):
                name, code = entry["name"], entry["emotion"]
                if emotions.setdefault(name, code) != code:
                    raise InputError(f"{path}: {name} is {code}, but was {emotions[name]} before.")
        return emotions


def known_corpora() -> list[str]:
    """Lists the known corpora.

    Returns:
        Their names, which are those of their files.

    Example:
        >>> known_corpora()[:3]
        ['cafe', 'crema_d', 'demos']
    """
    return sorted(path.stem for path in KNOWN.glob("*.yaml"))


def corpora_named_like(paths: Sequence[PurePath]) -> list[str]:
    """Finds the known corpora to which clips belong by their names.

    Args:
        paths: Paths of clips, of which the first ones decide.

    Returns:
        Names of corpora.

    Example:
        >>> corpora_named_like([PurePath("anna/OAF_back_angry.wav")])
        ['tess']
    """
    some = paths[:_MANY]
    return [
        name
        for name in known_corpora()
        if some and all(_match(load_corpus(name).pattern, path) for path in some)
    ]


def lists_known_corpora(function: Function) -> Function:
    """Decorates a function: puts the names of the known corpora in place of KNOWN in its docstring.

    Args:
        function: The function.

    Returns:
        The same function.
    """
    function.__doc__ = (function.__doc__ or "").replace("KNOWN", ", ".join(known_corpora()))
    return function


def load_corpus(name: str) -> Corpus:
    """Reads the description of a corpus.

    Args:
        name: A known corpus, or the path of a YAML file.

    Returns:
        The description, checked.

    Raises:
        InputError: If there is none, or it breaks a rule.

    Example:
        >>> load_corpus("emovo").language
        'Italian'
    """
    if Path(name).suffix in (".yaml", ".yml"):
        if not Path(name).is_file():
            raise InputError(
                f"corpus: {name} does not exist; check the path of the YAML file, or give one of "
                f"{', '.join(known_corpora())}."
            )
        return read_settings(Corpus, name, folder="corpora/known")
    if name not in known_corpora():
        raise InputError(
            f"corpus: must be one of {', '.join(known_corpora())}, or folder, csv, speech, or the "
            f"path of a YAML file that describes one; received {name!r}."
        )
    return _load_known(name)


@cache
def _load_known(name: str) -> Corpus:
    return read_settings(Corpus, name, folder="corpora/known")


def named_groups(pattern: str, name: str) -> set[str]:
    """Returns the named groups of a regular expression."""
    try:
        return set(re.compile(pattern).groupindex)
    except re.error as error:
        raise ValueError(
            f"{name} must be a regular expression ({error}); received {pattern!r}"
        ) from error


def _match(pattern: str, path: PurePath) -> re.Match | None:
    """Matches whole names at the end of a path without suffix."""
    return re.search(rf"(?:^|(?<=/))(?:{pattern})\Z", path.with_suffix("").as_posix())
