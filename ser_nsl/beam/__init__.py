"""The way from clips to training records as Apache Beam transforms, for corpora of any size.

No step puts a whole corpus, or its list of ids, in one place: everything is keyed by id or by
block. It needs the extra `beam`.
"""

import logging

_level = logging.root.manager.disable
logging.disable(logging.WARNING)  # Beam warns of what it lacks for BigQuery
try:
    import apache_beam as apache_beam
finally:
    logging.disable(_level)
