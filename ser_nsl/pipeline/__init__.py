"""Stages in a row: from settings in a YAML file to results.

Read in this order: `stage` (what a stage is), `experiment` and `sweep_config` (all settings of a
run and of a sweep), `plan` (which stages lead from clips to scores), `run` and `sweep` (run what is
not up to date), `results` and `comparison` (what came of it).
"""

import lazy_loader

# Each name of `__init__.pyi` is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
