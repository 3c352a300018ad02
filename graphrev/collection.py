"""Holds Python's cyclic garbage collector back while many objects are made.

A large graph is millions of small objects that all stay alive. The collector walks them again and
again while they are made, which is most of the time of reading a graph and finds nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Generator[None]:
    """No cyclic collection inside; reference counting goes on as ever."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
