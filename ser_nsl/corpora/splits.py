"""Which speakers train, validate and test."""

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import pandas as pd

from ser_nsl.corpora.settings import SplitConfig
from ser_nsl.errors import InputError

PAPER_SEED = 12345  # of the research code published with arXiv 2210.14977
_RAVDESS_ACTORS = {f"{i:02d}": "male" if i % 2 else "female" for i in range(1, 25)}

SpeakerLists = Mapping[str, Sequence[str]]
"""The speakers of `train`, `val` and `test`."""


def assign_splits(table: pd.DataFrame, corpus: str, config: SplitConfig) -> pd.Series:
    """Puts every clip into `train`, `val` or `test`.

    Args:
        table: Columns `speaker` and `gender`, and `split` for the method `given`.
        corpus: Name of the corpus; `paper` means something for RAVDESS and DEMoS only.
        config: The method and its options.

    Returns:
        The split of each row, aligned with `table`.

    Raises:
        InputError: If the method does not fit the corpus, or speakers are unknown or unlisted.
    """
    if config.method == "given":
        if "split" not in table:
            raise InputError("split.method: 'given' needs a table with a column 'split'.")
        return table["split"]
    if config.method == "clips":
        return _split_clips(table, config)
    genders = table.drop_duplicates("speaker").set_index("speaker")["gender"].sort_index()
    if "" in genders.index:
        raise InputError(
            f"split.method: {config.method!r} needs to know who speaks, but some clips have no "
            "speaker. Add speakers (EMOTION/SPEAKER/FILE or a CSV column), or choose 'clips' and "
            "accept that speakers stand on both sides."
        )
    lists = speaker_lists(genders.to_dict(), corpus, config)
    home = {speaker: split for split, speakers in lists.items() for speaker in speakers}
    unlisted = sorted(set(genders.index) - set(home))
    if unlisted:
        raise InputError(
            f"split: {len(unlisted)} speakers stand in no list (first: {', '.join(unlisted[:3])})."
        )
    return table["speaker"].map(home)


def speaker_lists(genders: Mapping[str, str], corpus: str, config: SplitConfig) -> SpeakerLists:
    """Divides speakers.

    Args:
        genders: From speaker to `female`, `male` or empty.
        corpus: Name of the corpus.
        config: Any method but `given` and `clips`.

    Returns:
        Disjoint lists for `train`, `val` and `test`.

    Raises:
        InputError: If the method does not fit, or a speaker is listed twice.
    """
    match config.method:
        case "paper" if corpus == "ravdess":
            return _balanced(_RAVDESS_ACTORS, test_share=0.25, val_share=0.43, seed=PAPER_SEED)
        case "paper":
            raise InputError(
                f"split.method: the paper's own split is known for ravdess; received {corpus}. "
                "For demos choose 'count-equivalent', else 'speaker-independent'."
            )
        case "count-equivalent" if corpus == "demos":
            return _demos_lists(config.alternative)
        case "count-equivalent":
            raise InputError(f"split.method: 'count-equivalent' is for demos; received {corpus}.")
        case "leave-one-speaker-out":
            return _leave_one_out(sorted(genders), config.fold)
        case "lists":
            return _read_lists(config.lists)
        case "speaker-independent":
            return _balanced(genders, config.test_share, config.val_share, config.seed)
    raise InputError(f"split.method: unknown method {config.method!r}.")


def _balanced(
    genders: Mapping[str, str], test_share: float, val_share: float, seed: int
) -> SpeakerLists:
    """Divides each gender in the same shares: first test speakers, then validation speakers."""
    from sklearn.model_selection import train_test_split  # loads for seconds

    lists: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for gender in sorted(set(genders.values())):
        speakers = sorted(speaker for speaker in genders if genders[speaker] == gender)
        if len(speakers) < 3:
            raise InputError(
                f"split.method: 'speaker-independent' needs three speakers of each gender; "
                f"{gender or 'unknown gender'} has {', '.join(speakers)}. Choose "
                "'leave-one-speaker-out' or give 'lists'."
            )
        try:
            rest, test = train_test_split(speakers, test_size=test_share, random_state=seed)
            train, val = train_test_split(rest, test_size=val_share, random_state=seed)
        except ValueError as error:
            raise InputError(
                f"split.test_share, split.val_share: must leave a speaker of each gender to train; "
                f"received {test_share} and {val_share} for {len(speakers)} speakers. Lower them."
            ) from error
        for split, part in zip(lists, (train, val, test), strict=True):
            lists[split] += sorted(part)
    return lists


def _demos_lists(alternative: int) -> SpeakerLists:
    """Reads one of the eleven lists that reproduce the counts of the paper's Table 2."""
    text = (resources.files("ser_nsl.corpora") / "demos_splits.json").read_text()
    lists = json.loads(text)["lists"]
    if alternative >= len(lists):
        raise InputError(
            f"split.alternative: must be 0 (default) to {len(lists) - 1}; received {alternative}."
        )
    return lists[alternative]


def _leave_one_out(speakers: list[str], fold: int) -> SpeakerLists:
    """Tests on one speaker; validates on the one half a turn on in alphabetical order.

    In corpora that number women and men apart this pairs the two genders.
    """
    count = len(speakers)
    if count < 3 or fold >= count:
        raise InputError(
            f"split.fold: must be 0 to {count - 1} with {count} speakers (three at least); "
            f"received {fold}."
        )
    test, val = speakers[fold], speakers[(fold + count // 2) % count]
    train = [speaker for speaker in speakers if speaker not in (test, val)]
    return {"train": train, "val": [val], "test": [test]}


def _read_lists(path: Path | None) -> SpeakerLists:
    """Reads `{"train": [...], "val": [...], "test": [...]}`."""
    if path is None:
        raise InputError("split.lists: the method 'lists' needs a JSON file of speakers.")
    try:
        lists = json.loads(Path(path).read_text())
        lists = {split: [str(name) for name in lists[split]] for split in ("train", "val", "test")}
    except (OSError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(
            f'{path}: must be JSON of the form {{"train": [...], "val": [...], "test": [...]}} '
            f"with speakers ({type(error).__name__}: {error})."
        ) from error
    names = [name for speakers in lists.values() for name in speakers]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise InputError(
            f"{path}: a speaker must stand in one split only; these stand in two: "
            f"{', '.join(doubled[:3])}."
        )
    return lists


def _split_clips(table: pd.DataFrame, config: SplitConfig) -> pd.Series:
    """Divides clips, each emotion in the same shares; for corpora whose speakers are unknown."""
    from sklearn.model_selection import train_test_split

    if (table["speaker"] != "").any():
        raise InputError(
            "split.method: 'clips' is for corpora without speakers, since it puts a speaker into "
            "two splits. Choose 'speaker-independent'."
        )
    seed = config.seed
    try:
        rest, test = train_test_split(
            table, test_size=config.test_share, random_state=seed, stratify=table["emotion"]
        )
        train, val = train_test_split(
            rest, test_size=config.val_share, random_state=seed, stratify=rest["emotion"]
        )
    except ValueError as error:
        raise InputError(
            f"split.method: 'clips' needs more clips of each emotion ({error})."
        ) from error
    parts = {"train": train, "val": val, "test": test}
    return pd.concat([pd.Series(split, index=part.index) for split, part in parts.items()])
