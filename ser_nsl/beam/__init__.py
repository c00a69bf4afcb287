"""The steps from clips to training records as Apache Beam transforms, for corpora of any size.

No step holds a whole corpus, or the list of its ids, in one place: everything is keyed by id or by
block. It needs the extra `beam`.
"""
