"""Which clips a synthetic corpus has: file names of RAVDESS and DEMoS, and what is said."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ser_nsl.corpora.description import load_corpus

Gender = Literal["f", "m"]

# A bar is where an emotional speaker may pause. What is said is neutral in all emotions.
ENGLISH = (
    "The letters are lying | on the table by the door",
    "The neighbours are talking | in front of the window",
)
ITALIAN = (
    "Il treno per Milano | parte alle nove di sera",
    "La lettera è arrivata | con la posta di oggi",
    "Le chiavi sono rimaste | sul tavolo della cucina",
    "Domani mattina andiamo | a trovare la nonna",
    "Il telefono ha suonato | per tutta la mattina",
    "La finestra della camera | è rimasta aperta",
    "Mio fratello ha comprato | una macchina rossa",
    "I bambini stanno giocando | nel giardino del vicino",
    "Questa sera ceniamo | a casa di Martina",
    "Il professore ha parlato | del libro di storia",
)


@dataclass(frozen=True)
class Clip:
    """One clip to be made.

    Attributes:
        path: Path below the corpus folder.
        speaker: The speaker's number, from 1.
        emotion: A key of `emotions.EMOTIONS`.
        strong: Whether its name says that the emotion is strongly expressed.
        language: `en` or `it`.
        sentence: What is said.
    """

    path: PurePosixPath
    speaker: int
    emotion: str
    strong: bool
    language: str
    sentence: str

    @property
    def gender(self) -> Gender:
        """`f` or `m`."""
        return gender_of(self.speaker)


@dataclass(frozen=True)
class Layout:
    """The clips that a corpus can have.

    Attributes:
        most_speakers: Number of speakers of the real corpus.
        most_clips_per_emotion: Number of clips of an emotion by a speaker that names can express.
        clips: Lists the clips for a number of speakers and of clips per emotion.
    """

    most_speakers: int
    most_clips_per_emotion: int
    clips: Callable[[int, int], Iterator[Clip]]


def gender_of(speaker: int) -> Gender:
    """Returns the gender by RAVDESS's rule, used for both corpora: men odd, women even."""
    return "m" if speaker % 2 else "f"


def ravdess_clips(speakers: int, clips_per_emotion: int) -> Iterator[Clip]:
    """Lists clips as RAVDESS has them: two statements, two intensities, two repetitions.

    Neutral has the normal intensity only, so it has half the clips (rounded up).
    """
    recordings = [(i, s, r) for r in (1, 2) for i in (1, 2) for s in (1, 2)]
    for speaker in range(1, speakers + 1):
        for code, emotion in _emotions("ravdess"):
            for intensity, statement, repetition in recordings[:clips_per_emotion]:
                if emotion == "neutral" and intensity == 2:
                    continue
                name = f"03-01-{code}-{intensity:02}-{statement:02}-{repetition:02}-{speaker:02}"
                path = PurePosixPath(f"Actor_{speaker:02}", f"{name}.wav")
                yield Clip(path, speaker, emotion, intensity == 2, "en", ENGLISH[statement - 1])


def demos_clips(speakers: int, clips_per_emotion: int) -> Iterator[Clip]:
    """Lists clips as DEMoS has them: the number is the sentence, the letter the take.

    About every sixth clip is prototypical (PR), as in the corpus. Its neutral clips, which are
    no part of the task, are left out.
    """
    for speaker in range(1, speakers + 1):
        for column, (code, emotion) in enumerate(_emotions("demos", without="neutral")):
            for index in range(clips_per_emotion):
                take, sentence = divmod(index, len(ITALIAN))
                strong = (speaker + column + index) % 6 == 0
                name = f"{gender_of(speaker)}_{speaker:02}_{code}{sentence:02}{'abc'[take]}"
                path = PurePosixPath("DEMOS", f"{'PR' if strong else 'NP'}_{name}.wav")
                yield Clip(path, speaker, emotion, strong, "it", ITALIAN[sentence])


def _emotions(corpus: str, without: str = "") -> list[tuple[str, str]]:
    """Returns codes and names of a known corpus's emotions."""
    labels = load_corpus(corpus).labels
    return [(code, name) for code, name in labels.items() if name and name != without]


LAYOUTS = {
    "ravdess": Layout(24, 8, ravdess_clips),
    "demos": Layout(68, 3 * len(ITALIAN), demos_clips),
}
"""The corpora that can be made."""
