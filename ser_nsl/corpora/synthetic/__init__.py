"""Two synthetic emotional corpora, to try the chain without a download.

**Everything here is synthetic.** The clips are spoken by espeak-ng, not by people. They show
that every stage of this project works; a score on them says nothing about emotion in real speech.

- `ravdess`: English, RAVDESS's eight emotions, folders and file names, for the source.
- `demos`: Italian, DEMoS's seven emotions, folders and file names, for the target.

The speech comes from `espeak`, the effects of emotions on it from `emotions`, the voices from
`speakers`, the voice quality that espeak-ng lacks from `voice_quality`, and sentences and file
names from `layouts`. Each clip depends on the seed and its own name only, so more speakers or more
clips never change the other clips.

Difficulty: unweighted average recall on speakers who are not in training (chance 12.5 % and
14.3 %). The cues were tuned on seeds 0, 1 and 2; the first two rows are of other seeds, 10 to
14, measured once. The last row is one run on a tuned seed, so take it as a rough guide.

| | RAVDESS's layout | DEMoS's layout |
|---|---|---|
| SVM on MFCC statistics, 12 speakers, 8 clips an emotion, 3 folds | 58 to 69 % | 61 to 71 % |
| The same, 8 speakers, 4 clips an emotion (the defaults), 4 folds | 46 to 56 % | 56 to 63 % |
| Small residual network on log Mel, 8 speakers train, 4 test, seed 0 | 72 % | 54 % |
"""

from ser_nsl.corpora.synthetic.corpus import make_synthetic_corpus

__all__ = ["make_synthetic_corpus"]
