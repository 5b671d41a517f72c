"""Data sets as they lie on disk, and who of them is trained and tested on.

recordings, damaged = open_dataset("ubfc2", root)
"""

import json
from pathlib import Path

import numpy as np

from pulse_plantain.lab.datasets.cohface import open_cohface
from pulse_plantain.lab.datasets.mmpd import open_mmpd
from pulse_plantain.lab.datasets.pure import open_pure
from pulse_plantain.lab.datasets.recording import (
    Recording,
    even_pulse,
    reference_rate,
    without_duplicates,
)
from pulse_plantain.lab.datasets.splits import (
    SPLITS,
    fold_of_subjects,
    split_of_subjects,
    write_splits,
)
from pulse_plantain.lab.datasets.ubfc import open_ubfc1, open_ubfc2
from pulse_plantain.video import ClipError

__all__ = [
    "DATASETS",
    "SPLITS",
    "Recording",
    "even_pulse",
    "fold_of_subjects",
    "open_dataset",
    "reference_rate",
    "split_of_subjects",
    "write_splits",
]


def open_synthetic(root):
    """Recordings of a folder that scripts/synthesize.py filled, in the order of their names."""
    for path in sorted(Path(root).glob("*.json")):
        yield path.stem, lambda path=path: _synthetic(path)


def _synthetic(path):
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
        )
    except (ValueError, KeyError) as error:
        raise ClipError(f"{path}: not a ground truth of scripts/synthesize.py") from error


DATASETS = {
    "ubfc1": open_ubfc1,
    "ubfc2": open_ubfc2,
    "pure": open_pure,
    "cohface": open_cohface,
    "mmpd": open_mmpd,
    "synthetic": open_synthetic,
}
"""Name -> function of the root folder that yields (name, function that opens the recording)."""


def open_dataset(name, root):
    """All recordings of a data set in its own layout; pictures are not read yet.

    Args:
        name: one of :data:`DATASETS`.
        root: the folder the data set was unpacked to.

    Returns:
        (list of :class:`Recording`, dict name -> why it cannot be used of the damaged ones).

    Raises:
        ClipError: if there is no such folder, or nothing in it has the data set's layout.
        ValueError: if the name is unknown.
    """
    if name not in DATASETS:
        raise ValueError(f"data set must be one of {', '.join(DATASETS)}, got {name!r}")
    if not Path(root).is_dir():
        raise ClipError(f"{root}: no such folder")
    recordings, damaged = [], {}
    for label, opened in DATASETS[name](root):
        try:
            recordings.append(opened())
        except (ClipError, OSError) as error:
            damaged[label] = str(error)
    if not recordings and not damaged:
        raise ClipError(f"{root}: nothing in it is laid out as {name} is")
    return without_duplicates(recordings), damaged
