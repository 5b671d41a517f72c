"""One protocol for every method: recordings go in, and a row comes out for each and each method.

Here live the skin and the face that methods look at, the rows and their cache; lab/summary.py sums
them up. Nothing is rendered, drawn or printed here.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image
from torch import nn
from tqdm import tqdm

from pulse_plantain import face_finder, heart_rate
from pulse_plantain.cells import Box
from pulse_plantain.lab import baselines, metrics, networks
from pulse_plantain.lab.datasets import Recording, open_dataset
from pulse_plantain.video import ClipError

if TYPE_CHECKING:
    from pulse_plantain.output import PulseOutput

Row = dict[str, Any]
"""One recording measured by one method; see :func:`measure_all`."""

VIDEO_SUFFIXES = {".mp4", ".avi", ".mov", ".mkv", ".webm"}

SHORTEST = 4.5
"""s between the first and the last frame below which classical methods measure nothing."""

PULSE = "pulse"
"""Name of the pipeline among the methods; the others are keys of baselines.METHODS and of
networks.NETWORKS."""


def open_recordings(name: str, root: Path) -> list[Recording]:
    """Recordings of a data set, those that cannot be used left out with a warning.

    Args:
        name: one of :data:`pulse_plantain.lab.datasets.DATASETS`.
        root: the folder it was unpacked to.

    Raises:
        ClipError: if there is none that can be used.
    """
    recordings, damaged = open_dataset(name, root)
    for label, reason in damaged.items():
        warnings.warn(f"left out {label}: {reason}", stacklevel=2)
    if not recordings:
        raise ClipError(f"{root}: no recording of {name} that can be used")
    return recordings


def open_rendered_clips(folder: Path) -> list[Recording]:
    """Recordings of a folder that scripts/synthesize.py filled, in the order of their names.

    Raises:
        ClipError: if it holds none.
    """
    if not any(folder.glob("*.json")):
        raise ClipError(f"no clips with ground truth in {folder}")
    return open_recordings("synthetic", folder)


def find_videos(folder: Path) -> list[Recording]:
    """Recordings of a folder of videos of which nothing is known, searched in depth.

    Raises:
        ClipError: if it holds none.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES)
    if not paths:
        raise ClipError(f"no videos in {folder}")
    names = [str(path.relative_to(folder).with_suffix("")) for path in paths]
    return [Recording(name, path, name) for name, path in zip(names, paths, strict=True)]


def read_skin_trace(recording: Recording) -> tuple[np.ndarray, float]:
    """Mean colour of the skin on an even clock.

    Where the recording has a mask, pixels count that are skin for more than half of the clip; else
    those of :func:`find_face_box` of the first frame. The clock is as fast as the median frame;
    straight lines run between the frames' own time stamps.

    Returns:
        (rgb [samples, 3], sampling rate in Hz).

    Raises:
        ClipError: if the clip cannot be read or is shorter than :data:`SHORTEST`.
    """
    skin, times, colours = None, [], []
    for time, picture in recording.frames():
        if skin is None:
            skin = _find_skin(recording.mask, picture)
        times.append(time)
        colours.append(picture[skin].mean(axis=0, dtype=float))
    if len(times) < 2 or times[-1] < SHORTEST:
        raise ClipError(f"{recording.path}: shorter than {SHORTEST:g} s")
    sampling_rate = 1 / np.median(np.diff(times))
    even = np.arange(times[0], times[-1] + 1e-9, 1 / sampling_rate)
    colours = [np.interp(even, times, channel) for channel in np.transpose(colours)]
    return np.stack(colours, axis=1), float(sampling_rate)


def _find_skin(mask, picture):
    """The bright pixels [H, W] of a mask picture, or without one those in the box of the face."""
    height, width = picture.shape[:2]
    if mask is None:
        left, top, right, bottom = find_face_box(picture)
        skin = np.zeros((height, width), bool)
        skin[top:bottom, left:right] = True
        return skin
    with Image.open(mask) as stored:
        skin = np.asarray(stored.convert("L").resize((width, height))) > 127
    if not skin.any():
        raise ClipError(f"{mask.name} shows no skin")
    return skin


def find_face_box(picture: np.ndarray) -> tuple[int, int, int, int]:
    """The skin that every classical method gets where no mask is known.

    The largest face of OpenCV's frontal Haar cascade (Viola and Jones, CVPR 2001), of it the
    middle 60 % of its width and its full height, as Poh et al. (Optics Express 18, 2010) cut it;
    the whole picture where no face is found.

    Args:
        picture: [H, W, 3], uint8 or float in [0, 1].

    Returns:
        (left, top, right, bottom) in pixels.
    """
    face = _find_largest_face(picture)
    if face is None:
        return 0, 0, picture.shape[1], picture.shape[0]
    left, top, right, bottom = face
    return round(left + 0.2 * (right - left)), top, round(right - 0.2 * (right - left)), bottom


def _find_largest_face(picture):
    """(left, top, right, bottom) of the largest face that the cascade finds, or None."""
    if picture.dtype != np.uint8:
        scale = 1 / 257 if picture.dtype == np.uint16 else 255
        picture = (picture * scale).clip(0, 255).astype(np.uint8)
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    cascade = face_finder.load_cascade()
    if cascade is None:
        raise RuntimeError("this OpenCV brings no face finder: install opencv-python-headless<5")
    faces = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=4)
    if not len(faces):
        return None
    x, y, w, h = max(np.asarray(faces).tolist(), key=lambda face: face[2] * face[3])
    return x, y, x + w, y + h


def make_box_finder(recording: Recording) -> Callable[[np.ndarray], Box]:
    """Function of the first picture of a recording that finds the box which networks look at.

    That is the box of the skin where a mask is known, else the whole of the largest Haar face, else
    the whole picture; lab/networks.py widens it.
    """

    def find_box(picture: np.ndarray) -> Box:
        height, width = picture.shape[:2]
        if recording.mask is None:
            return _find_largest_face(picture) or (0, 0, width, height)
        rows, columns = np.nonzero(_find_skin(recording.mask, picture))
        return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1

    return find_box


@dataclass(frozen=True)
class Estimate:
    """What a method says of a recording.

    Attributes:
        bpm: its best guess, NaN where there is none.
        confidence: 0...1.
        answered: whether it gives the guess as its answer.
        reason: why it does not.
    """

    bpm: float
    confidence: float
    answered: bool
    reason: str | None = None


def estimate_network_rate(bvp: np.ndarray) -> float:
    """The rate in bpm of a network's trace, by the estimator that every method gets."""
    return heart_rate.mean_rate(bvp, networks.SAMPLING_RATE)


def measure_with_networks(recording: Recording, loaded: Mapping[str, nn.Module]) -> list[Row]:
    """Rows of trained networks, which always answer, as classical methods do.

    Args:
        recording: to be measured.
        loaded: networks by the names of their methods.

    Raises:
        ClipError: if the recording cannot be measured.
    """
    frames, times = networks.read_face_frames(recording, make_box_finder(recording))
    rows = []
    for method, network in loaded.items():
        bvp = networks.predict_bvp(network, frames)
        confidence = heart_rate.spectral_concentration(bvp, networks.SAMPLING_RATE)
        bpm = estimate_network_rate(bvp)
        row = _make_row(recording, method, Estimate(bpm, confidence, bool(np.isfinite(bpm))))
        rows.append(row | _compare_traces(recording, bvp, times[1:]))
    return rows


def _make_row(recording: Recording, method: str, estimate: Estimate) -> Row:
    """Row of one recording and method (see :func:`measure_all`)."""
    return {
        "recording": recording.name,
        "subject": recording.subject,
        "method": method,
        "bpm": float(estimate.bpm),
        "answered": bool(estimate.answered),
        "confidence": float(estimate.confidence),
        "reason": estimate.reason,
        "reference": float(recording.bpm),
        "strata": recording.strata,
        "rendered": recording.rendered,
    }


def _compare_traces(recording: Recording, bvp: np.ndarray, times: np.ndarray) -> Row:
    """Figures of a BVP against the reference pulse; none where the recording has no pulse.

    Returns:
        ``snr`` and ``toolbox_snr`` in dB, ``macc``, and ``toolbox_bpm`` and ``toolbox_peak_bpm``:
        each [of the trace, of the reference] by rPPG-Toolbox's FFT and peak estimators, which read
        the label as coarsely as the prediction.
    """
    if not (recording.bpm > 0 and len(recording.bvp)):
        return {}
    sampling_rate = float(1 / np.median(np.diff(times)))
    reference = np.interp(times, recording.bvp_times, recording.bvp)
    pair = [metrics.toolbox_filter(trace, sampling_rate) for trace in (bvp, reference)]
    rates = [float(metrics.toolbox_fft_rate(x, sampling_rate)) for x in pair]
    return {
        "snr": float(heart_rate.snr(bvp, sampling_rate, recording.bpm)),
        "macc": metrics.macc(*pair),
        "toolbox_snr": float(metrics.toolbox_snr(pair[0], sampling_rate, rates[1])),
        "toolbox_bpm": rates,
        "toolbox_peak_bpm": [float(metrics.toolbox_peak_rate(x, sampling_rate)) for x in pair],
    }


def measure_with_classics(recording: Recording, methods: Iterable[str]) -> list[Row]:
    """Rows of classical methods on the skin of one recording, which is decoded once.

    The rate is heart_rate.mean_rate of the trace, the confidence its spectral concentration;
    classical methods always answer.

    Args:
        recording: to be measured.
        methods: keys of baselines.METHODS.

    Raises:
        ClipError: if the recording cannot be measured.
    """
    rgb, sampling_rate = read_skin_trace(recording)
    times = np.arange(len(rgb)) / sampling_rate
    rows = []
    for method in methods:
        bvp = baselines.METHODS[method](rgb, sampling_rate)
        bpm = heart_rate.mean_rate(bvp, sampling_rate)
        confidence = heart_rate.spectral_concentration(bvp, sampling_rate)
        row = _make_row(recording, method, Estimate(bpm, confidence, bool(np.isfinite(bpm))))
        rows.append(row | _compare_traces(recording, bvp, times))
    return rows


def measure_with_pipeline(recording: Recording, pipe: Callable[..., PulseOutput]) -> Row:
    """Row of the pipeline at its defaults through its public call.

    ``bpm`` is its guess, which is its answer where it gives one, so that errors can be told with
    and without abstention; ``answered`` tells which.

    Args:
        recording: to be measured.
        pipe: the pipeline.

    Raises:
        ClipError: if the recording cannot be measured.
    """
    output = pipe(**recording.source())
    answered = bool(np.isfinite(output.bpm))
    estimate = Estimate(output.guess, output.confidence, answered, output.reason)
    windows = [
        {"start": w.start, "end": w.end, "bpm": w.bpm, "confidence": w.confidence}
        | {"crop": [float(edge) for edge in w.crop]}
        for w in output.windows
    ]
    row = _make_row(recording, PULSE, estimate) | {"windows": windows}
    return row | _compare_traces(recording, np.asarray(output.bvp), np.asarray(output.times))


@dataclass(frozen=True)
class Models:
    """What methods need that are not classical.

    Attributes:
        load_pipe: function without arguments that returns the pipeline; called when it is needed.
        networks: trained networks of lab/networks.py by the names of their methods.
    """

    load_pipe: Callable[[], Callable[..., PulseOutput]]
    networks: Mapping[str, nn.Module] = field(default_factory=dict)


def measure_all(
    recordings: Sequence[Recording],
    methods: Sequence[str],
    models: Models,
    cache: Mapping[str, Path],
    progress: bool = True,
) -> list[Row]:
    """Rows of all recordings by all methods; finished ones are read from the cache.

    A row has ``recording``, ``subject``, ``method``, ``bpm`` (best guess, NaN where there is
    none), ``answered``, ``confidence``, ``reason``, ``reference`` (bpm), ``strata``, and, where
    the reference has a trace, what :func:`_compare_traces` gives. A recording that cannot be
    measured is not answered and its ``reason`` says why.

    Args:
        recordings: to be measured.
        methods: names, :data:`PULSE` or keys of baselines.METHODS or of ``models.networks``.
        models: what the methods need.
        cache: JSON-lines file of each method; rows are appended as they are computed. A method
            must get another file as soon as anything its rows depend on changes.
        progress: whether to show a bar.

    Returns:
        The rows, in the order of recordings, then methods.
    """
    done = {(row["recording"], m): row for m in methods for row in _read_cache(cache[m])}
    for recording in tqdm(recordings, desc="recordings", unit="clip", disable=not progress):
        missing = [m for m in methods if (recording.name, m) not in done]
        for row in _measure(recording, missing, models):
            done[recording.name, row["method"]] = row
            cache[row["method"]].parent.mkdir(parents=True, exist_ok=True)
            with cache[row["method"]].open("ab", buffering=0) as file:  # a line is written at once
                file.write(f"{json.dumps(row)}\n".encode())
    return [done[recording.name, method] for recording in recordings for method in methods]


def _measure(recording: Recording, methods: Sequence[str], models: Models) -> Iterator[Row]:
    """Rows of one recording by the methods, the classical ones first."""
    classical = [method for method in methods if method in baselines.METHODS]
    trained = {method: models.networks[method] for method in methods if method in models.networks}
    if classical:
        try:
            yield from measure_with_classics(recording, classical)
        except ClipError as error:
            yield from (_make_failure_row(recording, method, error) for method in classical)
    if trained:
        try:
            yield from measure_with_networks(recording, trained)
        except ClipError as error:
            yield from (_make_failure_row(recording, method, error) for method in trained)
    if PULSE in methods:
        try:
            yield measure_with_pipeline(recording, models.load_pipe())
        except ClipError as error:
            yield _make_failure_row(recording, PULSE, error)


def _make_failure_row(recording: Recording, method: str, error: ClipError) -> Row:
    """Row of a recording that cannot be measured; its path stays out of the results."""
    reason = str(error).replace(str(recording.path), recording.path.name)
    return _make_row(recording, method, Estimate(np.nan, 0.0, False, reason))


def _read_cache(path: Path) -> Iterator[Row]:
    """Rows of a JSON-lines file; a line cut short by an interruption is left out."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
