"""Memory that is no longer needed, given back to the system while a call goes on."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any


def let_go(items: list[Any]) -> None:
    """Empty a list, and give what is free back to the system.

    Between large blocks that come and go, a C library keeps holes that hardly fill again, and a
    long clip would hold ever more of them. Where the library cannot be asked (it can with glibc),
    the list is emptied all the same.
    """
    items.clear()
    trim = _find_trim()
    if trim is not None:
        trim(0)


@cache
def _find_trim():
    """glibc's ``malloc_trim``; None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
