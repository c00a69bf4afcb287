"""Which speakers train, validate and test."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ser_nsl.corpora.balance import balanced_splits
from ser_nsl.corpora.description import Corpus
from ser_nsl.corpora.found import SHOWN, listed
from ser_nsl.corpora.settings import SPLITS, SplitConfig
from ser_nsl.errors import InputError, refuse
from ser_nsl.pipeline.settings import check

SpeakerLists = Mapping[str, Sequence[str]]
"""The speakers of `train`, `val` and `test`; without `train`, all others train."""

_NEED_THREE = ("balanced", "speaker-independent", "leave-one-speaker-out")


def assign_splits(table: pd.DataFrame, corpus: Corpus | None, config: SplitConfig) -> pd.Series:
    """Assigns every clip to `train`, `val` or `test`.

    Args:
        table: Columns `path`, `speaker`, `gender` and `emotion`, and `split` for the method
            `given`.
        corpus: Description of the corpus; None for a folder or a table.
        config: The method and its options.

    Returns:
        The split of each row, aligned with `table`.

    Raises:
        InputError: If the method does not fit the corpus, or a speaker is unknown or in no list.
    """
    if config.method == "given":
        if "split" not in table:
            raise InputError("split.method: 'given' needs a table with a column 'split'.")
        return table["split"]
    if config.method == "clips":
        return _split_clips(table, config)
    genders = table.drop_duplicates("speaker").set_index("speaker")["gender"].sort_index()
    if "" in genders.index:
        nameless = table.loc[table["speaker"] == "", "path"]
        rule = f"split.method: {config.method!r} needs the speaker of every clip; these have none"
        otherwise = "take these clips out"
        if len(genders) == 1:
            otherwise = "choose 'clips' and accept that a speaker may be in several splits"
        ways = "EMOTION/SPEAKER/FILE, --speaker-pattern or --columns speaker COLUMN"
        refuse(nameless, rule, f"Add speakers ({ways}), or {otherwise}.")
    if config.method in _NEED_THREE and len(genders) < len(SPLITS):
        raise InputError(
            f"split.method: {config.method!r} needs three speakers, one for each split; the corpus "
            f"has {', '.join(genders.index)} only. Add speakers, or choose 'clips', which puts the "
            "same voice into all splits: scores then say nothing about other voices."
        )
    if config.method == "balanced":
        shares = {"test_share": config.test_share, "val_share": config.val_share}
        return table["speaker"].map(balanced_splits(table, **shares, seed=config.seed))
    lists = speaker_lists(genders.to_dict(), corpus, config)
    splits = {speaker: split for split, speakers in lists.items() for speaker in speakers}
    for split, speakers in lists.items():
        if speakers and not set(speakers) & set(genders.index):
            raise InputError(
                f"split: none of the speakers of {split} is in the corpus ({', '.join(speakers)}); "
                f"it has {listed(genders.index, SHOWN)}. Correct the list."
            )
    unlisted = sorted(set(genders.index) - set(splits))
    if "train" not in lists:
        return table["speaker"].map(splits | dict.fromkeys(unlisted, "train"))
    step = "Add them, or leave the list 'train' out: all speakers in no other list train then."
    refuse(unlisted, "split: speakers are in no list", step)
    return table["speaker"].map(splits)


def doubts_of_lists(table: pd.DataFrame, config: SplitConfig) -> list[str]:
    """Says which speakers of a user's lists are not in the corpus, as where a name is misspelt.

    Args:
        table: Column `speaker`.
        config: The method and its options.

    Returns:
        At most one sentence.
    """
    if config.method != "lists":
        return []
    lists = _read_lists(config.lists)
    absent = sorted({name for names in lists.values() for name in names} - {*table["speaker"]})
    rest = "" if "train" in lists else "; who is in no list trains"
    return [f"{config.lists}: not in the corpus: {', '.join(absent[:3])}{rest}"] if absent else []


def describe_splits(table: pd.DataFrame) -> list[str]:
    """Says what each split holds.

    Args:
        table: Columns `speaker`, `emotion` and `split`.

    Returns:
        A line for each split.

    Example:
        >>> rows = [("anna", "joy", "train"), ("ben", "joy", "train"), ("cleo", "joy", "test")]
        >>> for line in describe_splits(
        ...     pd.DataFrame(rows, columns=["speaker", "emotion", "split"])
        ... ):
        ...     print(line)
        train: 2 clips (67%); speakers: anna, ben
        val: 0 clips (0%); without joy
        test: 1 clips (33%); speakers: cleo
    """
    emotions = {*table["emotion"]} - {""}
    lines = []
    for split in SPLITS:
        rows = table[table["split"] == split]
        speakers, lacking = sorted({*rows["speaker"]} - {""}), emotions - {*rows["emotion"]}
        lines.append(
            f"{split}: {len(rows):,} clips ({len(rows) / len(table):.0%})"
            + (f"; speakers: {listed(speakers, SHOWN)}" if speakers else "")
            + (f"; without {listed(sorted(lacking), SHOWN)}" if lacking else "")
        )
    return lines


def speaker_lists(
    genders: Mapping[str, str], corpus: Corpus | None, config: SplitConfig
) -> SpeakerLists:
    """Divides speakers.

    Args:
        genders: From each speaker to `female`, `male` or empty.
        corpus: Description of the corpus; None for a folder or a table.
        config: Any method but `balanced`, `given` and `clips`.

    Returns:
        Disjoint lists for `train`, `val` and `test`.

    Raises:
        InputError: If the method does not fit, or a speaker is in two lists.

    Example:
        >>> config = SplitConfig("leave-one-speaker-out", fold=2)
        >>> speaker_lists({"f1": "female", "f2": "female", "m1": "male"}, None, config)
        {'train': ['f2'], 'val': ['f1'], 'test': ['m1']}
    """
    match config.method:
        case "paper" | "emobox" | "count-equivalent":
            return _published(corpus, config.method, config.alternative)
        case "leave-one-speaker-out":
            return _leave_one_out(sorted(genders), config.fold)
        case "lists":
            return _read_lists(config.lists)
    return _by_gender(genders, config.test_share, config.val_share, config.seed)


def _by_gender(
    genders: Mapping[str, str], test_share: float, val_share: float, seed: int
) -> SpeakerLists:
    """Divides each gender in the same shares: first test speakers, then validation speakers."""
    from sklearn.model_selection import train_test_split  # loads for seconds

    lists: dict[str, list[str]] = {split: [] for split in SPLITS}
    for gender in sorted(set(genders.values())):
        speakers = sorted(speaker for speaker in genders if genders[speaker] == gender)
        if len(speakers) < 3:
            raise InputError(
                f"split.method: 'speaker-independent' needs three speakers of each gender; "
                f"{gender or 'unknown gender'} has {', '.join(speakers)}. Choose 'balanced'."
            )
        try:
            rest, test = train_test_split(speakers, test_size=test_share, random_state=seed)
            train, val = train_test_split(rest, test_size=val_share, random_state=seed)
        except ValueError as error:
            raise InputError(
                f"split.test_share, split.val_share: must leave a speaker of each gender to train; "
                f"received {test_share} and {val_share} for {len(speakers)} speakers. Lower them."
            ) from error
        for split, part in zip(SPLITS, (train, val, test), strict=True):
            lists[split] += sorted(part)
    return lists


def _published(corpus: Corpus | None, method: str, alternative: int) -> SpeakerLists:
    """Returns one of the published divisions of a corpus."""
    title, splits = (corpus.title, corpus.splits) if corpus else ("a corpus without YAML file", {})
    divisions = splits.get(method, [])
    if alternative >= len(divisions):
        setting = "alternative" if divisions else "method"
        raise InputError(
            f"split.{setting}: {title} has {len(divisions)} splits of the method {method!r}; "
            f"received {alternative}, counted from 0. Choose another alternative or method."
        )
    return {split: speakers.split() for split, speakers in divisions[alternative].items()}


def _leave_one_out(speakers: list[str], fold: int) -> SpeakerLists:
    """Tests on one speaker and validates on another, half the alphabetical list further on.

    Where the names of women and men differ in their first letter, that one has the other gender.
    """
    count = len(speakers)
    if fold >= count:
        raise InputError(
            f"split.fold: must be 0 to {count - 1} with {count} speakers; received {fold}."
        )
    test, val = speakers[fold], speakers[(fold + count // 2) % count]
    train = [speaker for speaker in speakers if speaker not in (test, val)]
    return {"train": train, "val": [val], "test": [test]}


def _read_lists(path: Path | None) -> SpeakerLists:
    """Reads `{"train": [...], "val": [...], "test": [...]}`; `train` may be left out."""
    if path is None:
        raise InputError("split.lists: the method 'lists' needs a JSON file of speakers.")
    try:
        given = json.loads(Path(path).read_text())
        check({*given} <= {*SPLITS}, "lists", f"among {', '.join(SPLITS)}", [*given])
        for split, names in given.items():
            check(isinstance(names, list), split, "a list", names)
        needed = [split for split in SPLITS if split != "train" or split in given]
        lists = {split: [str(name) for name in given[split]] for split in needed}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f'{path}: must be JSON of the form {{"train": [...], "val": [...], "test": [...]}} '
            f"with speakers, of which train may be left out ({type(error).__name__}: {error})."
        ) from error
    names = [name for speakers in lists.values() for name in speakers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            f"{path}: lists must have each speaker once; these are there twice: "
            f"{', '.join(repeated[:3])}."
        )
    return lists


def _split_clips(table: pd.DataFrame, config: SplitConfig) -> pd.Series:
    """Divides clips, each emotion in the same shares; for unknown speakers, or too few of them."""
    from sklearn.model_selection import train_test_split

    speakers = {*table["speaker"]} - {""}
    if len(speakers) >= len(SPLITS):
        raise InputError(
            "split.method: 'clips' is for corpora of unknown speakers, or of one or two, since it "
            f"puts a speaker into several splits; this corpus has {len(speakers):,} speakers. "
            "Choose 'balanced'."
        )

    def divide(rows: pd.DataFrame, share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        return train_test_split(
            rows, test_size=share, random_state=config.seed, stratify=rows["emotion"]
        )

    try:
        rest, test = divide(table, config.test_share)
        train, val = divide(rest, config.val_share)
    except ValueError as error:
        counts = table["emotion"].value_counts()
        raise InputError(
            "split.method: 'clips' needs more clips, some of each emotion for train, val and test; "
            f"{counts.index[-1]!r} has {counts.iloc[-1]} of {len(table):,}. Add clips, leave this "
            f"emotion out, or raise split.test_share ({config.test_share}) and split.val_share "
            f"({config.val_share})."
        ) from error
    parts = zip(SPLITS, (train, val, test), strict=True)
    return pd.concat([pd.Series(split, index=part.index) for split, part in parts])
