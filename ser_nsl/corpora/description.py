"""A corpus as data: one YAML file says how its file names are read.

`ser_nsl/corpora/known` has a file for each known corpus; a user's own works the same way.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path, PurePath

from ser_nsl.errors import InputError
from ser_nsl.pipeline.settings import check, read_settings

KNOWN = Path(str(resources.files("ser_nsl.corpora") / "known"))


@dataclass(frozen=True)
class Clip:
    """What a file's name and place say about it.

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
        files: Glob pattern of the tables, relative to the audio root.
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
        pattern: Regular expression that matches the end of a clip's path without suffix: its name,
            or with folders where it has a slash. The match is the utterance's id. Named groups:
            `emotion` (needed unless there are `tables`), `speaker`, `gender`, or any that `speaker`
            names.
        labels: From each code of an emotion to its name; a code that maps to null is left out.
        example: Path of a clip, relative to the audio root, that the pattern matches.
        language: Language of the speakers.
        licence: Terms of use.
        source: Where to get the corpus.
        speaker: How a speaker's id is composed of the groups.
        speakers: Other spellings of speakers, from each to the speaker.
        genders: `female` and `male`, each with its codes in the group `gender`, or with its
            speakers where the pattern has no such group.
        ignore: Regular expression of the end of the paths that are no clips of the corpus, e.g. of
            its song.
        tables: Where the emotions stand, if not in file names.
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
    speakers: dict[str, str] = field(default_factory=dict)
    genders: dict[str, list[str]] = field(default_factory=dict)
    ignore: str | None = None
    tables: LabelTables | None = None
    download: Download | None = None

    def __post_init__(self) -> None:
        groups = _groups(self.pattern, "pattern")
        if self.tables is not None:
            needed = {"name", "emotion"}
            found = _groups(self.tables.pattern, "tables.pattern")
            check(needed <= found, "tables.pattern", "with the groups name and emotion", found)
        else:
            check("emotion" in groups, "pattern", "with the group (?P<emotion>...)", self.pattern)
        if self.ignore is not None:
            _groups(self.ignore, "ignore")
        named = set(re.findall(r"{(\w+)}", self.speaker))
        default = self.speaker == "{speaker}"
        check(default or named <= groups, "speaker", f"made of the groups {groups}", self.speaker)
        check(any(self.labels.values()), "labels", "a mapping of codes to emotions", self.labels)
        kinds = {"female", "male"}
        check({*self.genders} <= kinds, "genders", "lists of female and male", {*self.genders})
        example = PurePath(self.example)
        if self._match(example) is None:
            raise ValueError(f"example must match the pattern {self.pattern}; received {example}")
        if self.tables is None:
            self.read(example)

    def read(self, path: PurePath, emotions: Mapping[str, str] | None = None) -> Clip | None:
        """Reads the name of a clip.

        Args:
            path: The clip's, relative to the audio root.
            emotions: From names of clips to the codes of their emotions, as `read_tables` gives
                them; needed for corpora with `tables`.

        Returns:
            The clip; None if the description leaves it out.

        Raises:
            InputError: If the pattern does not match, or the emotion is unknown.
        """
        if self.ignore is not None and _match_end(self.ignore, path) is not None:
            return None
        match = self._match(path)
        if match is None:
            raise InputError(f"{path}: a clip of {self.title} has a name like {self.example}.")
        groups = match.groupdict()
        if self.tables is not None:
            groups["emotion"] = (emotions or {}).get(path.stem)
            if groups["emotion"] is None:
                raise InputError(f"{path}: has no entry in {self.tables.files}.")
        code = groups["emotion"]
        if code not in self.labels:
            raise InputError(
                f"{path}: unknown emotion {code!r} of {self.title}; known are "
                f"{', '.join(self.labels)}."
            )
        emotion = self.labels[code]
        if emotion is None:
            return None
        known = groups.keys() >= set(re.findall(r"{(\w+)}", self.speaker))
        speaker = self.speaker.format(**groups) if known else ""
        speaker = self.speakers.get(speaker, speaker)
        code = groups.get("gender") or speaker
        gender = next((name for name, codes in self.genders.items() if code in codes), "")
        return Clip(match[0], speaker, gender, emotion)

    def read_tables(self, audio_dir: Path) -> dict[str, str]:
        """Reads the tables of labels.

        Args:
            audio_dir: The audio root.

        Returns:
            From names of clips to the codes of their emotions; empty for corpora without tables.

        Raises:
            InputError: If there are no tables.
        """
        if self.tables is None:
            return {}
        paths = sorted(Path(audio_dir).glob(self.tables.files))
        if not paths:
            raise InputError(
                f"audio_dir: {audio_dir} lacks {self.tables.files}, where {self.title} has its "
                "emotions; give the folder in which the corpus was unpacked."
            )
        entries = [
            match
            for path in paths
            for match in re.finditer(self.tables.pattern, path.read_text(errors="replace"))
        ]
        return {entry["name"]: entry["emotion"] for entry in entries}

    def _match(self, path: PurePath) -> re.Match | None:
        return _match_end(self.pattern, path)


def known_corpora() -> list[str]:
    """Lists the known corpora.

    Returns:
        Their names, which are those of their files.

    Example:
        >>> known_corpora()[:3]
        ['cafe', 'crema_d', 'demos']
    """
    return sorted(path.stem for path in KNOWN.glob("*.yaml"))


@cache
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
    if name not in known_corpora() and Path(name).suffix not in (".yaml", ".yml"):
        raise InputError(
            f"corpus: must be one of {', '.join(known_corpora())}, or folder, csv, or the path of "
            f"a YAML file that describes one; received {name!r}."
        )
    return read_settings(Corpus, name, folder="corpora/known")


def _groups(pattern: str, name: str) -> set[str]:
    """The named groups of a regular expression."""
    try:
        return {*re.compile(pattern).groupindex}
    except re.error as error:
        raise ValueError(
            f"{name} must be a regular expression ({error}); received {pattern!r}"
        ) from error


def _match_end(pattern: str, path: PurePath) -> re.Match | None:
    """Matches whole names at the end of a path without suffix."""
    return re.search(rf"(?:^|(?<=/))(?:{pattern})$", path.with_suffix("").as_posix())
