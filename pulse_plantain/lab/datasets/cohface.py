"""COHFACE (Heusch, Anjos, Marcel, arXiv 1709.00962): MPEG-4 video and HDF5 labels.

``<person 1-40>/<session 0-3>/data.avi`` and ``data.hdf5`` with ``pulse`` at 256 Hz. A dataset
``time`` in the file is used where it is as long as the pulse; that it is always there is
unconfirmed. Sessions 0 and 1 were lit by a spot ("clean"), 2 and 3 by daylight ("natural").
"""

from pathlib import Path

import h5py
import numpy as np

from pulse_plantain.lab.datasets.recording import Recording, inspected
from pulse_plantain.lab.datasets.ubfc import _length
from pulse_plantain.video import ClipError

SAMPLING_RATE = 256.0  # Hz


def open_cohface(root):
    """Recordings of COHFACE, by the number of person and session."""
    labels = [
        path
        for path in Path(root).glob("*/*/data.hdf5")
        if path.parts[-2].isdigit() and path.parts[-3].isdigit()
    ]
    for label in sorted(labels, key=lambda path: (int(path.parts[-3]), int(path.parts[-2]))):
        name = f"{label.parts[-3]}-{label.parts[-2]}"
        yield name, lambda name=name, label=label: _recording(name, label)


def _recording(name, label):
    try:
        with h5py.File(label) as file:
            pulse = np.asarray(file["pulse"], float).ravel()
            times = np.asarray(file["time"], float).ravel() if "time" in file else None
    except (OSError, KeyError, ValueError) as error:
        raise ClipError(f"{label}: not a label of COHFACE ({error})") from error
    if times is None or len(times) != len(pulse):
        times = np.arange(len(pulse)) / SAMPLING_RATE
    person, session = name.split("-")
    light = "spot" if int(session) < 2 else "natural"
    recording = Recording(
        name=name,
        path=label.with_name("data.avi"),
        subject=person,
        bvp=pulse,
        bvp_times=times - times[0] if len(times) else times,
        task=light,
        strata={"light": light, "codec": "mpeg4"},
    )
    return inspected(recording, _length(recording.path)[1])
