"""Which clips a synthetic corpus has: file names as in RAVDESS and DEMoS, and what is said."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from ser_nsl.corpora.description import load_corpus

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
class SyntheticClip:
    """A clip to be made.

    Attributes:
        path: Its path, relative to the corpus folder.
        speaker: The speaker's number, from 1; odd numbers are men, even ones women.
        emotion: A key of `voices.EMOTIONS`.
        strong: Whether its name says that the emotion is strongly expressed.
        language: `en` or `it`.
        sentence: What is said.
    """

    path: str
    speaker: int
    emotion: str
    strong: bool
    language: str
    sentence: str

    @property
    def gender(self) -> Literal["f", "m"]:
        """The speaker's gender."""
        return "m" if self.speaker % 2 else "f"


@dataclass(frozen=True)
class Layout:
    """How a corpus names its clips.

    Attributes:
        clips: Lists the clips for a number of speakers and of clips per emotion.
        most_speakers: Number of speakers of the real corpus.
        most_clips_per_emotion: Number of different names for one speaker and emotion.
    """

    clips: Callable[[int, int], Iterator[SyntheticClip]]
    most_speakers: int
    most_clips_per_emotion: int


def ravdess_clips(speakers: int, clips_per_emotion: int) -> Iterator[SyntheticClip]:
    """Lists clips as RAVDESS has them: two statements, two intensities, two repetitions.

    Neutral has the normal intensity only, so it has half as many (rounded up where odd).
    """
    recordings = [(i, s, r) for r in (1, 2) for i in (1, 2) for s in (1, 2)]
    for speaker in range(1, speakers + 1):
        for code, emotion in load_corpus("ravdess").labels.items():
            for intensity, statement, repetition in recordings[:clips_per_emotion]:
                if emotion and not (emotion == "neutral" and intensity == 2):
                    name = (
                        f"03-01-{code}-{intensity:02}-{statement:02}-{repetition:02}-{speaker:02}"
                    )
                    path = f"Actor_{speaker:02}/{name}.wav"
                    sentence = ENGLISH[statement - 1]
                    yield SyntheticClip(path, speaker, emotion, intensity == 2, "en", sentence)


def demos_clips(speakers: int, clips_per_emotion: int) -> Iterator[SyntheticClip]:
    """Lists clips as DEMoS has them: the number is the sentence, the letter the take.

    About every sixth clip is prototypical (PR), as in the corpus. Its neutral clips, which are
    no part of the task, are left out.
    """
    labels = load_corpus("demos").labels
    emotional = {code: name for code, name in labels.items() if name and name != "neutral"}
    for speaker in range(1, speakers + 1):
        gender = "m" if speaker % 2 else "f"
        for column, (code, emotion) in enumerate(emotional.items()):
            for index in range(clips_per_emotion):
                take, sentence = divmod(index, len(ITALIAN))
                strong = (speaker + column + index) % 6 == 0
                kind = "PR" if strong else "NP"
                name = f"{kind}_{gender}_{speaker:02}_{code}{sentence:02}{'abc'[take]}"
                path = f"DEMOS/{name}.wav"
                yield SyntheticClip(path, speaker, emotion, strong, "it", ITALIAN[sentence])


LAYOUTS = {
    "ravdess": Layout(ravdess_clips, 24, 8),
    "demos": Layout(demos_clips, 68, 3 * len(ITALIAN)),
}
"""The corpora that can be made."""
