"""MMPD (Tang et al., arXiv 2302.03840): MATLAB files of pictures, pulse and conditions.

Here live its layout, both versions of its files and the words of its conditions.

``subject<n>/p<n>_<k>.mat``, version 5 or 7.3 (HDF5), with ``video`` [t, h, w, 3] in 0...1 and
``GT_ppg`` [1, t], both at 30 Hz, and the words ``light``, ``motion``, ``exercise``,
``skin_color``, ``gender``, ``glasser``, ``hair_cover``, ``makeup``. The videos were H.264 before.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import loadmat, whosmat
from scipy.io.matlab import MatReadError

from pulse_plantain.lab.datasets.recording import Opener, Recording, inspect_label
from pulse_plantain.video import ClipError

SAMPLING_RATE = 30.0  # Hz, of pictures and pulse; the files hold no clock

OLD_WORDS = {"Watching Videos": "Walking"}
"""Labels of early files and what later ones call the same (as in rPPG-Toolbox's loader)."""

_WORDS = ("light", "motion", "exercise", "skin_color", "gender", "glasser", "hair_cover", "makeup")


def open_mmpd(root: Path) -> Iterator[tuple[str, Opener]]:
    """Name and opener of every recording of MMPD, by the numbers of person and take."""
    found = []
    for path in root.rglob("p*_*.mat"):
        if match := re.fullmatch(r"p(\d+)_(\d+)", path.stem):
            found.append((int(match[1]), int(match[2]), path))
    for person, _, path in sorted(found):
        yield path.stem, partial(_open_recording, str(person), path)


_DAMAGE = (OSError, KeyError, ValueError, NotImplementedError, IndexError, MatReadError)
"""What reading a file raises that is cut off or is no file of MMPD."""


def _open_recording(person: str, path: Path) -> Recording:
    """The recording of a file."""
    try:
        read = _read_hdf5 if h5py.is_hdf5(path) else _read_v5
        pulse, words, frames = read(path)
    except _DAMAGE as error:
        raise ClipError(f"{path}: not a file of MMPD ({error})") from error
    motion = OLD_WORDS.get(words["motion"], words["motion"])
    problems = []
    if frames != len(pulse):
        problems.append(f"{frames} pictures, but {len(pulse)} samples of the pulse")
    recording = Recording(
        name=path.stem,
        path=path,
        subject=person,
        bvp=pulse,
        bvp_times=np.arange(len(pulse)) / SAMPLING_RATE,
        fps=SAMPLING_RATE,
        pictures=partial(_read_pictures, path),
        task=motion or "",
        strata={
            "motion": motion,
            "light": words["light"],
            "skin_type": words["skin_color"],
            "exercise": words["exercise"],
            "makeup": words["makeup"],
            "codec": "h264",
        },
        problems=tuple(problems),
    )
    return inspect_label(recording, frames / SAMPLING_RATE)


def _read_v5(path: Path) -> tuple[np.ndarray, dict[str, Any], int]:
    """(pulse [t], words, number of pictures) without reading the pictures."""
    shapes = {name: shape for name, shape, _ in whosmat(path)}
    content = loadmat(path, variable_names=["GT_ppg", *_WORDS])
    words = {name: _parse_word(content.get(name)) for name in _WORDS}
    return np.asarray(content["GT_ppg"], float).ravel(), words, shapes["video"][0]


def _read_hdf5(path: Path) -> tuple[np.ndarray, dict[str, Any], int]:
    """As :func:`_read_v5`; MATLAB's arrays lie in an HDF5 file with their axes reversed."""
    with h5py.File(path) as file:
        words = {name: _parse_hdf5_word(file.get(name)) for name in _WORDS}
        return np.asarray(file["GT_ppg"], float).ravel(), words, _find_video(file).shape[-1]


def _find_video(file: h5py.File) -> h5py.Dataset:
    """The pictures [3, w, h, t] of an HDF5 file."""
    video = file["video"]
    if not isinstance(video, h5py.Dataset):
        raise KeyError("video is no array")
    return video


def _parse_word(value):
    """A MATLAB string or number as str or int, None where there is none."""
    if value is None or np.size(value) == 0:
        return None
    value = np.asarray(value).ravel()[0]
    if isinstance(value, np.ndarray):
        return _parse_word(value)
    return str(value).strip() if isinstance(value, str) else int(value)


def _parse_hdf5_word(value):
    """As :func:`_parse_word`; strings are arrays of UTF-16 codes, marked by MATLAB_class."""
    if value is None:
        return None
    numbers = np.asarray(value).ravel()
    kind = value.attrs.get("MATLAB_class", b"")
    if kind in (b"char", "char"):
        return "".join(map(chr, numbers.astype(int))).strip()
    return int(numbers[0]) if len(numbers) else None


def _read_pictures(path: Path) -> Iterator[np.ndarray]:
    """Pictures [H, W, 3] float32 in 0...1; those of an HDF5 file are read one by one."""
    if not h5py.is_hdf5(path):
        yield from np.asarray(loadmat(path, variable_names=["video"])["video"], np.float32)
        return
    with h5py.File(path) as file:
        video = _find_video(file)
        for index in range(video.shape[-1]):
            yield np.asarray(video[..., index], np.float32).transpose(2, 1, 0)
