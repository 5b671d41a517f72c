"""PURE (Stricker et al., RO-MAN 2014): PNG pictures and JSON, both stamped in nanoseconds.

Here live its layout and its labels.

``ii-jj/ii-jj/Image<ns>.png`` and ``ii-jj/ii-jj.json``, ii the person, jj the setup. The JSON's
``/FullPackage`` holds ``Timestamp`` and ``Value`` {``waveform``, ``pulseRate``, ...} at 60 Hz.
"""

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from pulse_plantain.lab.datasets.recording import Opener, Recording, inspect_label
from pulse_plantain.video import ClipError

TASKS = {
    "01": "steady",
    "02": "talking",
    "03": "slow translation",
    "04": "fast translation",
    "05": "small rotation",
    "06": "medium rotation",
}


def open_pure(root: Path) -> Iterator[tuple[str, Opener]]:
    """Name and opener of every recording of PURE, by the numbers of person and setup."""
    found = [
        path
        for path in root.rglob("*.json")
        if re.fullmatch(r"\d\d-\d\d", path.stem) and path.parent.name in (path.stem, root.name)
    ]
    for path in sorted(found, key=lambda path: path.stem):
        yield path.stem, partial(_open_recording, path)


def _open_recording(label: Path) -> Recording:
    """The recording of a label."""
    try:
        content = json.loads(label.read_text())
        packages = content["/FullPackage"]
        stamps = np.array([package["Timestamp"] for package in packages], np.int64)
        waveform = np.array([package["Value"]["waveform"] for package in packages], float)
        device_bpm = [package["Value"].get("pulseRate", np.nan) for package in packages]
        listed = {int(image["Timestamp"]) for image in content.get("/Image", ())}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClipError(
            f"{label}: not a label of PURE ({type(error).__name__}: {error})"
        ) from error
    folder = label.with_suffix("")
    on_disk = _list_stamps(folder)
    if not on_disk or not len(stamps):
        raise ClipError(f"{folder}: no pictures Image<nanoseconds>.png, or no label")
    problems = []
    if missing := len(listed - on_disk):
        problems.append(f"{missing} of {len(listed)} pictures that the label lists are missing")
    first, last = min(on_disk), max(on_disk)
    person, setup = label.stem.split("-")
    task = TASKS.get(setup, setup)
    recording = Recording(
        name=label.stem,
        path=folder,
        subject=person,
        bvp=waveform,
        bvp_times=(stamps - first) * 1e-9,
        task=task,
        strata={"task": task, "motion": task, "codec": "png"},
        problems=tuple(problems),
    )
    return inspect_label(recording, (last - first) * 1e-9, device_bpm)


def _list_stamps(folder):
    """The stamps in nanoseconds of the pictures in a folder."""
    return {
        int(match[1])
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(r"Image(\d{16,20})", path.stem))
    }
