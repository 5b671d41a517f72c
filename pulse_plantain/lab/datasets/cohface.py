"""COHFACE (Heusch, Anjos, Marcel, arXiv 1709.00962): MPEG-4 video and HDF5 labels.

Here live its layout and its labels.

``<person 1-40>/<session 0-3>/data.avi`` and ``data.hdf5`` with ``pulse`` at 256 Hz. A dataset
``time`` in the file is used where it is as long as the pulse; that it is always there is
unconfirmed. Sessions 0 and 1 were lit by a spot ("clean"), 2 and 3 by daylight ("natural").
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from pulse_plantain.lab.datasets.recording import (
    Opener,
    Recording,
    inspect_label,
    read_video_length,
)
from pulse_plantain.video import ClipError

SAMPLING_RATE = 256.0  # Hz


def open_cohface(root: Path) -> Iterator[tuple[str, Opener]]:
    """Name and opener of every recording of COHFACE, by the numbers of person and session."""
    labels = [
        path
        for path in root.glob("*/*/data.hdf5")
        if path.parts[-2].isdigit() and path.parts[-3].isdigit()
    ]
    for label in sorted(labels, key=lambda path: (int(path.parts[-3]), int(path.parts[-2]))):
        yield f"{label.parts[-3]}-{label.parts[-2]}", partial(_open_recording, label)


def _open_recording(label: Path) -> Recording:
    """The recording of a label."""
    try:
        with h5py.File(label) as file:
            pulse = np.asarray(file["pulse"], float).ravel()
            times = np.asarray(file.get("time", ()), float).ravel()
    except (OSError, KeyError, ValueError) as error:
        raise ClipError(f"{label}: not a label of COHFACE ({error})") from error
    if len(times) != len(pulse):
        times = np.arange(len(pulse)) / SAMPLING_RATE
    person, session = label.parts[-3:-1]
    light = "spot" if int(session) < 2 else "natural"
    recording = Recording(
        name=f"{person}-{session}",
        path=label.with_name("data.avi"),
        subject=person,
        bvp=pulse,
        bvp_times=times - times[0] if len(times) else times,
        task=light,
        strata={"light": light, "codec": "mpeg4"},
    )
    return inspect_label(recording, read_video_length(recording.path)[1])
