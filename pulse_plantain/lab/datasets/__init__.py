"""Data sets as they lie on disk, and who of them is trained and tested on.

Here lives the one way into all of them: ``recordings, damaged = open_dataset("ubfc2", root)``.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pulse_plantain.lab.datasets.cohface import open_cohface
from pulse_plantain.lab.datasets.mmpd import open_mmpd
from pulse_plantain.lab.datasets.pure import open_pure
from pulse_plantain.lab.datasets.recording import (
    Opener,
    Recording,
    mark_duplicates,
    mark_rendered,
)
from pulse_plantain.lab.datasets.splits import (
    Folds,
    deal_folds,
    split_subjects,
    write_splits,
)
from pulse_plantain.lab.datasets.ubfc import open_ubfc1, open_ubfc2
from pulse_plantain.video import ClipError

__all__ = [
    "DATASETS",
    "Folds",
    "Recording",
    "deal_folds",
    "open_dataset",
    "split_subjects",
    "write_splits",
]


def open_synthetic(root: Path) -> Iterator[tuple[str, Opener]]:
    """Recordings of a folder that scripts/synthesize.py filled, in the order of their names."""
    for path in sorted(root.glob("*.json")):
        yield path.stem, partial(_open_clip, path)


def _open_clip(path):
    """The recording of a ground truth of synthesize.py."""
    try:
        truth = json.loads(path.read_text())
        return Recording(
            name=path.stem,
            path=path.with_suffix(".mp4"),
            subject=str(truth["subject"]),
            bpm=truth["bpm"],
            mask=path.with_suffix(".png"),
            bvp=np.array(truth["bvp"]),
            bvp_times=np.array(truth["times"]),
            strata=truth["strata"],
            rendered=True,
        )
    except (ValueError, KeyError) as error:
        raise ClipError(f"{path}: not a ground truth of scripts/synthesize.py") from error


DATASETS: dict[str, Callable[[Path], Iterator[tuple[str, Opener]]]] = {
    "ubfc1": open_ubfc1,
    "ubfc2": open_ubfc2,
    "pure": open_pure,
    "cohface": open_cohface,
    "mmpd": open_mmpd,
    "synthetic": open_synthetic,
}
"""Name of a data set -> function of its root that yields (name, opener) of every recording."""


def open_dataset(name: str, root: str | Path) -> tuple[list[Recording], dict[str, str]]:
    """All recordings of a data set in its own layout; pictures are not read yet.

    Args:
        name: one of :data:`DATASETS`.
        root: the folder the data set was unpacked to.

    Returns:
        (the recordings, by the names of the damaged ones why they cannot be used).

    Raises:
        ClipError: if there is no such folder, or nothing in it has the data set's layout.
        ValueError: if the name is unknown.
    """
    if name not in DATASETS:
        raise ValueError(f"data set must be one of {', '.join(DATASETS)}, got {name!r}")
    folder = Path(root)
    if not folder.is_dir():
        raise ClipError(f"{root}: no such folder")
    recordings, damaged = [], {}
    for label, open_recording in DATASETS[name](folder):
        try:
            recordings.append(mark_rendered(open_recording(), folder))
        except (ClipError, OSError) as error:
            damaged[label] = str(error)
    if not recordings and not damaged:
        raise ClipError(f"{root}: nothing in it is laid out as {name} is")
    return mark_duplicates(recordings), damaged
