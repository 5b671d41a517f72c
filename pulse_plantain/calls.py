"""The calls that run in a pipeline: each keeps its own state, so that threads can share it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(eq=False)
class Call:
    """The state of one call.

    Attributes:
        thread: identifier of the thread that it runs in.
        interrupted: whether it is to stop drawing.
        num_timesteps: steps of its flow.
        current_timestep: of the step that is being taken, None between the runs of its flow.
    """

    thread: int
    interrupted: bool = False
    num_timesteps: int = 0
    current_timestep: Any = None


class RunningCalls:
    """The calls of one pipeline that are running now, in all threads."""

    def __init__(self):
        self._running: list[Call] = []

    @contextmanager
    def start(self) -> Iterator[Call]:
        """A new call of this thread, known while the context lasts."""
        call = Call(threading.get_ident())
        self._running.append(call)
        try:
            yield call
        finally:
            self._running.remove(call)

    def get_own(self) -> Call:
        """This thread's innermost running call; an idle one where none runs."""
        own = threading.get_ident()
        mine = [call for call in self._running if call.thread == own]
        return mine[-1] if mine else Call(own)

    def interrupt(self, value: bool) -> None:
        """Set ``interrupted`` of this thread's call; of all that run where it has none."""
        own = self.get_own()
        for call in [own] if own in self._running else list(self._running):
            call.interrupted = value
