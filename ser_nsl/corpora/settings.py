"""Settings of a corpus and of the division of its speakers."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ser_nsl.pipeline.settings import check

__all__ = ["CorpusConfig", "SplitConfig", "SplitMethod", "SyntheticConfig"]

SPLITS = ("train", "val", "test")

SplitMethod = Literal[
    "balanced",
    "speaker-independent",
    "leave-one-speaker-out",
    "paper",
    "emobox",
    "count-equivalent",
    "lists",
    "given",
    "clips",
]

_USERS = {
    "fold": ("leave-one-speaker-out",),
    "alternative": ("paper", "emobox", "count-equivalent"),
    "lists": ("lists",),
}
"""Options of a division, each with the methods that use it."""


@dataclass(frozen=True)
class SplitConfig:
    """How clips are divided into train, val and test.

    Attributes:
        method: `balanced` (by speaker, each split with its share of clips, emotions and genders),
            random speakers with the same shares of each gender (`speaker-independent`),
            one speaker who tests (`leave-one-speaker-out`), the paper's own division, for
            RAVDESS (`paper`), the folds of a benchmark, for RAVDESS (`emobox`), lists with
            the paper's counts, for DEMoS (`count-equivalent`), a JSON file of speakers
            (`lists`), a column of the table (`given`), or clips at random, for unknown
            speakers or fewer than three (`clips`).
        seed: Seed of `balanced`, `speaker-independent` and `clips`.
        test_share: Share that tests, 0 to 1: of the clips, or with `speaker-independent` of the
            speakers, rounded up for each gender: a quarter of 5 women and 5 men is 2 and 2.
        val_share: Share of what does not test that validates, 0 to 1, rounded likewise.
        fold: Index of the speaker who tests in `leave-one-speaker-out`, from 0, in alphabetical
            order.
        alternative: Index of the division for `paper` (0), `emobox` (0 to 5) and `count-equivalent`
            (0 to 10).
        lists: JSON file for `lists`: {"train": [...], "val": [...], "test": [...]}; without
            train, all speakers in neither of the others train.

    Example:
        >>> SplitConfig("leave-one-speaker-out", fold=5).fold
        5
        >>> SplitConfig(test_share=2)
        Traceback (most recent call last):
        ...
        ValueError: test_share must be between 0 and 1; received 2
    """

    method: SplitMethod = "balanced"
    seed: int = 0
    test_share: float = 0.25
    val_share: float = 0.25
    fold: int = 0
    alternative: int = 0
    lists: Path | None = None

    def __post_init__(self) -> None:
        methods = get_args(SplitMethod)
        check(self.method in methods, "method", f"one of {methods}", self.method)
        check(0 < self.test_share < 1, "test_share", "between 0 and 1", self.test_share)
        check(0 < self.val_share < 1, "val_share", "between 0 and 1", self.val_share)
        check(self.fold >= 0, "fold", "0 or more", self.fold)
        check(self.alternative >= 0, "alternative", "0 or more", self.alternative)
        for name, users in _USERS.items():  # else each fold would silently be the same
            unused = self.method not in users and getattr(self, name)
            rule = f"left out with the method {self.method}, as it is for {' and '.join(users)}"
            check(not unused, name, rule, getattr(self, name))


@dataclass(frozen=True)
class SyntheticConfig:
    """A synthetic corpus.

    Attributes:
        speakers: Number of speakers, half of them female.
        clips_per_emotion: Number of clips of each emotion by each speaker.
        seed: Seed of speakers and clips.

    Example:
        >>> SyntheticConfig(speakers=4).clips_per_emotion
        4
    """

    speakers: int = 12
    clips_per_emotion: int = 4
    seed: int = 0


@dataclass(frozen=True)
class CorpusConfig:
    """A corpus of an experiment.

    Attributes:
        corpus: A known corpus, the path of a YAML file that describes one, `folder`, `csv`, or
            `speech` for speech without labels.
        audio_dir: Folder of its clips; not needed where `synthetic` is given.
        table: Table of clips, for `csv`.
        leave_out: Emotions to leave out.
        label_map: Other names for emotions.
        columns: A table's own names for columns.
        speaker_pattern: Regular expression that finds the speaker in a clip's path.
        name: Name of a corpus that is read as `folder`, `csv` or `speech`, for reports and cards.
        skip_bad: Whether bad clips are left out instead of stopping.
        split: How speakers are divided.
        synthetic: Makes synthetic clips with the file names of `corpus` (ravdess or demos).

    Example:
        >>> CorpusConfig("folder", audio_dir=Path("speech"), label_map={"angry": "anger"}).skip_bad
        False
    """

    corpus: str
    audio_dir: Path | None = None
    table: Path | None = None
    leave_out: tuple[str, ...] = ()
    label_map: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    speaker_pattern: str | None = None
    name: str | None = None
    skip_bad: bool = False
    split: SplitConfig = SplitConfig()
    synthetic: SyntheticConfig | None = None

    def __post_init__(self) -> None:
        check(
            (self.audio_dir is None) != (self.synthetic is None),
            "audio_dir",
            "given, or synthetic in its place",
            self.audio_dir,
        )
