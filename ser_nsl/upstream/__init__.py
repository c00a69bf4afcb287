"""Speech models as upstreams: load, train on the source corpus, embed the target, distil."""

import lazy_loader

# Each name of `__init__.pyi` is imported when it is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
