"""Reading ahead: a thread reads what comes next while what came before is being used."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

Item = TypeVar("Item")

AT_ONCE = 16
"""Items that the thread reads before it hands them over."""

AHEAD = 10
"""Such batches that wait to be used at most: five seconds of 30 pictures a second."""


def can_wait(clip: Any) -> bool:
    """Whether a clip lies there as a whole, so that its pictures can be read at any time.

    Cameras, streams and what the caller's own code hands over are read in the caller's thread,
    picture by picture, when they are needed.
    """
    return isinstance(clip, bytes) or (
        isinstance(clip, str | os.PathLike) and os.path.isfile(clip)  # noqa: PTH113 - of any path
    )


def read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items in the same order, read in a thread, :data:`AHEAD` batches ahead at most.

    What the items raise is raised here, after the items before it. The thread ends with this
    iterator, also where it is closed early.
    """
    with ThreadPoolExecutor(1, "read-ahead") as reader:
        try:
            coming = deque(reader.submit(_read_batch, items) for _ in range(AHEAD))
            while True:
                batch, failure = coming.popleft().result()
                coming.append(reader.submit(_read_batch, items))
                yield from batch
                if failure is not None:
                    raise failure
                if len(batch) < AT_ONCE:
                    return
        finally:
            reader.shutdown(wait=False, cancel_futures=True)


def _read_batch(items: Iterator[Item]) -> tuple[list[Item], Exception | None]:
    """Up to :data:`AT_ONCE` items, fewer at their end; and what was raised in place of the next."""
    batch: list[Item] = []
    try:
        batch.extend(islice(items, AT_ONCE))
    except Exception as failure:
        return batch, failure
    return batch, None
