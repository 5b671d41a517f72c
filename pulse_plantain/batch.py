"""Many clips: which files are clips, a row for each or for each of its windows, and workers.

No clip stops another: what cannot be measured is a row with its reason.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .settings import Settings
from .tables import Row, Table

if TYPE_CHECKING:
    from .output import PulseOutput

VIDEO_SUFFIXES = (
    *(".3gp", ".apng", ".avi", ".flv", ".gif", ".h264", ".h265", ".hevc", ".m2ts", ".m4v"),
    *(".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts"),
    *(".webm", ".wmv", ".y4m"),
)
"""Files of a folder that are taken for clips, whatever is in them: a damaged one is to be told."""

STATUSES = ("rate", "no pulse", "failed")
"""What became of a clip: a heart rate, none that is sure enough, or it could not be measured."""

CLIP_COLUMNS = (
    *("clip", "status", "seconds", "bpm", "bpm_uncertainty", "confidence", "respiratory_rate"),
    *("sdnn", "rmssd", "pnn50", "reason", "note", "settings"),
)
"""Columns of a table with a row for each clip."""

WINDOW_COLUMNS = (
    *("clip", "status", "window", "start", "end", "bpm", "bpm_uncertainty", "confidence"),
    *("left", "top", "right", "bottom", "reason", "settings"),
)
"""Columns of a table with a row for each window."""


# ------------------------------------------------------------------------------- which are clips


def find_clips(names: Sequence[str]) -> list[str]:
    """The clips that names stand for, each once.

    A file is a clip. So is a folder of still pictures. Any other folder stands for the clips in it
    and in its folders, in the order of the numbers in their names; hidden files are left out.

    Raises:
        ValueError: for an empty name, and for a folder without a clip.
    """
    clips: dict[str, None] = {}
    for name in names:
        if not name:
            raise ValueError("the clip's name is empty")
        inside = _search_folder(Path(name)) if Path(name).is_dir() else [name]
        if not inside:
            raise ValueError(f"{name}: the folder holds neither clips nor numbered pictures")
        clips |= dict.fromkeys(inside)
    return list(clips)


def _search_folder(folder: Path) -> list[str]:
    """The clips in a folder; itself where it holds still pictures and nothing else."""
    from .animations import PICTURE_SUFFIXES

    def natural(path: Path) -> list[Any]:
        parts = re.split(r"(\d+)", path.name)
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]

    entries = sorted(
        (path for path in folder.iterdir() if not path.name.startswith(".")), key=natural
    )
    clips = []
    for path in entries:
        if path.is_dir():
            clips += _search_folder(path)
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            clips.append(str(path))
    pictures = [path for path in entries if path.suffix.lower() in PICTURE_SUFFIXES]
    moving = [path for path in pictures[:2] if _is_animated(path)]
    if moving:
        clips += [str(path) for path in pictures if _is_animated(path)]
    elif pictures and not clips:
        return [str(folder)]
    return clips


def _is_animated(path: Path) -> bool:
    """Whether a file with a picture's suffix holds several."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return getattr(image, "n_frames", 1) > 1 and image.format in ("PNG", "WEBP")
    except (OSError, SyntaxError):
        return False


# ------------------------------------------------------------------------------------- their rows


@dataclass(frozen=True)
class Asked:
    """What is asked of every clip.

    Args:
        settings: how it is measured.
        windows: whether it gets a row for each window.
    """

    settings: Settings
    windows: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the rows."""
        return WINDOW_COLUMNS if self.windows else CLIP_COLUMNS

    def measure(self, clip: str) -> list[Row]:
        """Rows of a clip; one with the reason where it cannot be measured.

        Raises:
            OSError, ValueError: if the pipeline cannot be loaded.
        """
        try:
            self.settings.check_clip(clip)
        except Exception as error:  # whatever is wrong with a file is said of the file
            return [self.fail(clip, error)]
        pipe = _load(self.settings)
        try:
            return self.list_rows(clip, self.settings.measure(pipe, clip))
        except Exception as error:
            return [self.fail(clip, error)]

    def fail(self, clip: str, error: Exception) -> Row:
        """The row of a clip that could not be measured."""
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = lines[0].removeprefix(f"{clip}: ")
        own = {"clip": clip, "status": "failed", "reason": reason}
        return own | {"settings": self.settings.describe()}

    def list_rows(self, clip: str, output: PulseOutput) -> list[Row]:
        """The rows of a clip that was measured."""
        status = "rate" if output.found else "no pulse"
        own: Row = {"clip": clip, "status": status, "reason": output.reason}
        note = "; ".join(output.list_notes()) or None
        own |= {"note": note, "settings": self.settings.describe()}
        if self.windows:
            table = enumerate(output.windows_table(), 1)
            return [own | {"window": number} | _round(window) for number, window in table]
        variability = output.hrv()
        figures = {
            "seconds": max(window.end for window in output.windows),
            "bpm": output.bpm,
            "bpm_uncertainty": output.bpm_uncertainty,
            "confidence": output.confidence,
            "respiratory_rate": output.respiratory_rate,
            **{name: getattr(variability, name) for name in ("sdnn", "rmssd", "pnn50")},
        }
        return [own | _round(figures)]


def _round(figures: dict[str, Any]) -> Row:
    """Figures to four places, None for what is none."""
    return {
        name: None if math.isnan(value) else round(float(value), 4)
        for name, value in figures.items()
    }


@cache
def _load(settings: Settings):
    """The pipeline of a process, loaded when the first clip can be read."""
    return settings.load()


# -------------------------------------------------------------------------------------- the batch


@dataclass
class Tally:
    """How many clips became what.

    Attributes:
        counts: of each of :data:`STATUSES`.
    """

    counts: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> bool:
        """Whether a clip could not be measured."""
        return self.counts["failed"] > 0

    def to_text(self) -> str:
        """One line for a person to read."""
        total = self.counts.total()
        return (
            f"{total} clip{'s' if total != 1 else ''}: {self.counts['rate']} with a heart rate, "
            f"{self.counts['no pulse']} without a pulse, {self.counts['failed']} failed"
        )


def measure_clips(
    clips: Sequence[str],
    asked: Asked,
    workers: int = 1,
    table: Table | None = None,
    report: Callable[[list[Row]], None] = lambda rows: None,
) -> Tally:
    """Measure clips, those left out that are in the table already.

    Args:
        clips: names of files and of folders of numbered pictures.
        asked: of every clip.
        workers: processes that measure; with one it is this one.
        table: that the rows are put into, each clip's as soon as they are there.
        report: is told the rows of each clip.

    Returns:
        Tally of all clips, those of the table included.

    Raises:
        ValueError: if the table was measured with other settings; as ``Settings.load``.
    """
    known: dict[str, Any] = {}
    own = asked.settings.describe()
    for row in table.rows if table else ():
        if (row["settings"] or "") != own:
            theirs = row["settings"] or "the defaults"
            raise ValueError(
                f"{table and table.path} was measured with {theirs}, this command asks for "
                f"{own or 'the defaults'}: name another file"
            )
        known[row["clip"]] = row["status"]
    tally = Tally(Counter(known[clip] for clip in clips if clip in known))
    waiting = [clip for clip in clips if clip not in known]
    workers = min(workers, len(waiting))
    if workers > 1:
        done = share_out(waiting, asked.measure, workers)
    else:
        done = ((clip, asked.measure(clip)) for clip in waiting)
    try:
        for clip, said in done:
            died = asked.fail(clip, ChildProcessError("the process that measured it died"))
            rows = said or [died]
            if table:
                table.add(rows)
            tally.counts[rows[0]["status"]] += 1
            report(rows)
    finally:
        if table:
            table.write()
    return tally


# ------------------------------------------------------------------------------------- the workers


def share_out(
    clips: Sequence[str], ask: Callable[[str], Any], workers: int
) -> Iterator[tuple[str, Any]]:
    """Ask processes about clips, one clip of each at a time.

    Where a process dies, what was in hand is asked again, each by itself, so that a clip that kills
    its process costs no other one.

    Args:
        clips: in any order.
        ask: picklable; gives what is to be known of a clip.
        workers: number of processes; each has its share of the cores.

    Yields:
        (clip, what was said of it; None where its process died), as they are done.

    Raises:
        What ``ask`` raises.
    """
    waiting: Sequence[str] = clips
    while waiting:
        in_hand, waiting = yield from _run_crew(waiting, ask, workers)
        for clip in in_hand:
            died, _ = yield from _run_crew([clip], ask, 1)
            if died:
                yield clip, None


Left = tuple[list[str], list[str]]
"""Clips that were in hand when a process died, and clips that nobody had begun with."""


def _run_crew(
    clips: Sequence[str], ask: Callable[[str], Any], workers: int
) -> Generator[tuple[str, Any], None, Left]:
    """Ask processes until all clips are done or one of the processes dies."""
    threads = max(1, (os.cpu_count() or 1) // workers)
    others = set(multiprocessing.active_children())
    waiting, running = deque(clips), dict[Future, str]()
    with ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(threads,),
    ) as pool:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    running[pool.submit(ask, waiting[0])] = waiting[0]
                    waiting.popleft()
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda one: one.exception() is not None):
                    said = future.result()
                    yield running.pop(future), said
        except BrokenProcessPool:
            return list(running.values()), list(waiting)
        except BaseException:  # interrupted, or no model: what is in hand is not waited for
            pool.shutdown(wait=False, cancel_futures=True)
            crew = set(multiprocessing.active_children()) - others
            for child in crew:
                child.terminate()
            for child in crew:
                child.join(10)
            raise
    return [], []


def _start_worker(threads: int) -> None:
    """Bound a worker's threads; an interrupt is its parent's business."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)  # before torch and NumPy are imported
