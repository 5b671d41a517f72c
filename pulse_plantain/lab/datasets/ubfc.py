"""UBFC-rPPG (Bobbia et al., Pattern Recognition Letters 124, 2019), both of its parts.

Here live its layout, its labels and their clocks.

DATASET_1: ``<n>-gt/vid*.avi`` and ``gtdump.xmp``, lines of time (ms), heart rate, SpO2, PPG.
DATASET_2: ``subject<n>/vid.avi`` and ``ground_truth.txt``, three lines: PPG, heart rate, time (s).
The faces of subjects 21 and 27 must not be published (the data set's read-me).
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pulse_plantain.lab.datasets.recording import (
    Opener,
    Recording,
    inspect_label,
    read_video_length,
)
from pulse_plantain.video import ClipError

UNPUBLISHED = frozenset({"21", "27"})
"""Subjects of DATASET_2 of whom no picture may be shown."""


def open_ubfc1(root: Path) -> Iterator[tuple[str, Opener]]:
    """Name and opener of every recording of DATASET_1, in the order of their numbers."""
    for folder in _list_folders(root, r"(\d+)-gt"):
        yield folder.name, partial(_open_first, folder)


def open_ubfc2(root: Path) -> Iterator[tuple[str, Opener]]:
    """Name and opener of every recording of DATASET_2, in the order of their numbers."""
    for folder in _list_folders(root, r"subject(\d+)"):
        yield folder.name, partial(_open_second, folder)


def _list_folders(root, pattern):
    """Folders named by a pattern, in the order of their numbers."""
    folders = [
        (int(match[1]), path)
        for path in root.iterdir()
        if path.is_dir() and (match := re.fullmatch(pattern, path.name))
    ]
    return [path for _, path in sorted(folders)]


def _open_first(folder):
    """A recording of DATASET_1."""
    label = folder / "gtdump.xmp"
    table = _read_table(label, delimiter=",")
    if table.ndim != 2 or table.shape[1] < 4:
        raise ClipError(f"{label}: lines of time, heart rate, SpO2, PPG expected")
    video = _find_video(folder)
    recording = Recording(
        name=folder.name,
        path=video,
        subject=folder.name.removesuffix("-gt"),
        bvp=table[:, 3],
        bvp_times=(table[:, 0] - table[0, 0]) / 1000,
        task="seated",
        strata={"codec": "raw", "task": "seated"},
    )
    return inspect_label(recording, read_video_length(video)[1], table[:, 1])


def _open_second(folder):
    """A recording of DATASET_2.

    It has one label a picture: where the counts agree, the label's clock is the pictures' clock.
    The headers all say about 30 Hz; subjects 25 to 27 were filmed at about 23.3 Hz.
    """
    label = folder / "ground_truth.txt"
    table = _read_table(label)
    if table.ndim != 2 or len(table) != 3:
        raise ClipError(f"{label}: three lines of PPG, heart rate and time expected")
    bvp, device_bpm, times = table
    video, problems, timestamps = _find_video(folder), [], None
    frames, seconds = read_video_length(video)
    times = times - times[0]
    if frames == len(times):
        timestamps = times
        if abs(seconds - times[-1]) > 0.02 * times[-1] + 0.1:
            problems.append(
                f"the header says {frames / seconds:.1f} pictures a second, the label's clock "
                f"{(frames - 1) / times[-1]:.1f} (used)"
            )
        seconds = None
    else:
        problems.append(f"{frames} pictures, but {len(times)} labels: the header's clock is used")
    number = folder.name.removeprefix("subject")
    recording = Recording(
        name=folder.name,
        path=video,
        subject=number,
        bvp=bvp,
        bvp_times=times,
        timestamps=timestamps,
        task="game",
        strata={"codec": "raw", "task": "game"},
        problems=tuple(problems),
    )
    return inspect_label(recording, seconds, device_bpm)


def _read_table(path, delimiter=None):
    """Numbers of a text file; ClipError where they are none."""
    try:
        return np.loadtxt(path, delimiter=delimiter, ndmin=2)
    except (OSError, ValueError) as error:
        raise ClipError(f"{path}: {error}") from error


def _find_video(folder):
    """The one video of a folder."""
    videos = sorted(folder.glob("vid*.avi"))
    if len(videos) != 1:
        raise ClipError(f"{folder}: one vid*.avi expected, found {len(videos)}")
    return videos[0]
