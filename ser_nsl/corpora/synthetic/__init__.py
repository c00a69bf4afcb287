"""A pair of emotional corpora made on the spot: synthetic speech, for mechanics, not science.

**Everything here is synthetic.** The clips are spoken by espeak-ng, not by people. They show
that every stage of this project works, without a download; a score on them says nothing about
emotion in real speech.

- `ravdess`: English, RAVDESS's eight emotions, folders and file names; made to be the source.
- `demos`: Italian, DEMoS's seven emotions, folders and file names; made to be the target.

The speech comes from `espeak`, what an emotion does to it from `emotions`, who speaks from
`speakers`, the voice quality that espeak-ng lacks from `voice_quality`, and what is said, and
under which name, from `layouts`. Each clip depends on the seed and its own name only, so more
speakers or more clips never change the clips that were there before.

Difficulty, measured with 12 speakers and 8 clips an emotion, seeds 0, 1 and 2: mean and
deviation of 20 MFCCs and of their deltas in a support vector machine, tested on speakers it
never heard (three folds of four speakers), reach an unweighted average recall of
@@CALIBRATION@@.
"""

from ser_nsl.corpora.synthetic.corpus import make_synthetic_corpus

__all__ = ["make_synthetic_corpus"]
