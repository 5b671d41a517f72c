"""Colour traces of real faces with contact PPG, painted as clips and measured beside POS.

A painted clip has a real face's colours and nothing else of it: an oval of one colour on grey.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import detrend
from tqdm import tqdm

from pulse_plantain import heart_rate
from pulse_plantain.lab import baselines
from pulse_plantain.posterior import WITHIN
from pulse_plantain.video import ClipError

FPS = 30
SIZE = 192
GREY = (90, 100, 110)
CENTRE, HALF_AXES = (96, 90), (60, 80)
NOISE = 2.0
"""Standard deviation of every pixel in grey levels."""

REFERENCE_BAND = (0.65, 3.2)
"""Hz in which the contact PPG's rate is looked for."""


@dataclass(frozen=True)
class FaceTrace:
    """A face's mean colour with contact PPG.

    Attributes:
        name: of the person.
        time: [n] s.
        rgb: [n, 3] in 0...255.
        ppg_time: [m] s.
        ppg: [m].
    """

    name: str
    time: np.ndarray
    rgb: np.ndarray
    ppg_time: np.ndarray
    ppg: np.ndarray

    def cut(self, start: float, seconds: float) -> np.ndarray:
        """[FPS * seconds, 3] colours from a time on, on an even clock."""
        times = start + np.arange(round(FPS * seconds)) / FPS
        return np.stack([np.interp(times, self.time, channel) for channel in self.rgb.T], 1)

    def read_reference(self, start: float, seconds: float) -> float:
        """Rate of the contact PPG in bpm: the highest line of its spectrum."""
        times = start + np.arange(round(60 * seconds)) / 60
        ppg = detrend(np.interp(times, self.ppg_time, self.ppg))
        return heart_rate.fft_rate(ppg, 60.0, REFERENCE_BAND)


def read_face_traces(folder: Path) -> list[FaceTrace]:
    """Traces of a folder, one npz file a person, with the attributes of FaceTrace as arrays.

    Raises:
        ClipError: if there are none.
    """
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise ClipError(f"no traces (.npz) in {folder}")
    traces = []
    for path in paths:
        with np.load(path) as kept:
            names = ("time", "rgb", "ppg_time", "ppg")
            traces.append(FaceTrace(path.stem, *(np.asarray(kept[n], float) for n in names)))
    return traces


def paint(
    colours: np.ndarray, seed: int = 0, ground: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Pictures [SIZE, SIZE, 3] uint8 of an oval on a ground, with noise.

    Args:
        colours: [n, 3] of the oval.
        seed: of the noise.
        ground: [n, 3] behind it; None: :data:`GREY` throughout.
    """
    dice = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    inside = ((x - CENTRE[0]) / HALF_AXES[0]) ** 2 + ((y - CENTRE[1]) / HALF_AXES[1]) ** 2 <= 1
    behind = np.broadcast_to(GREY, colours.shape) if ground is None else ground
    for colour, other in zip(colours, behind, strict=True):
        picture = np.where(inside[..., None], colour, other)
        noisy = picture + NOISE * dice.standard_normal(picture.shape, dtype=np.float32)
        yield np.clip(np.round(noisy), 0, 255).astype(np.uint8)


def measure_traces(
    pipe: Any, traces: list[FaceTrace], seconds: float, apart: float
) -> list[dict[str, Any]]:
    """A row for each window of each trace.

    Args:
        pipe: PulsePipeline.
        traces: of people.
        seconds: length of a window.
        apart: seconds from one window's start to the next one's.

    Returns:
        rows of ``person``, ``start`` (s), ``reference``, ``pos`` (POS on the trace itself), ``bpm``
        (best guess), ``answered`` and ``confidence``.
    """
    rows = []
    for trace in traces:
        first = max(trace.time[0], trace.ppg_time[0])
        last = min(trace.time[-1], trace.ppg_time[-1]) - seconds
        for start in tqdm(np.arange(first, last, apart), desc=trace.name, unit="window"):
            colours = trace.cut(start, seconds)
            output = pipe(np.stack(list(paint(colours, round(start)))), fps=FPS)
            pos = heart_rate.mean_rate(baselines.pos(colours, FPS), FPS)
            rows.append(
                {
                    "person": trace.name,
                    "start": float(start - first),
                    "reference": float(trace.read_reference(start, seconds)),
                    "pos": float(pos),
                    "bpm": float(output.guess),
                    "answered": output.found,
                    "confidence": float(output.confidence),
                }
            )
    return rows


def sum_up(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Shares within 3 bpm and errors of the pipeline and of POS."""
    error, pos = (
        np.array([abs(row[name] - row["reference"]) for row in rows]) for name in ("bpm", "pos")
    )
    answered = np.array([row["answered"] for row in rows])
    figures = {
        "windows": len(rows),
        "within_3_bpm": float((error <= WITHIN).mean()),
        "mae_bpm": float(error.mean()),
        "pos_within_3_bpm": float((pos <= WITHIN).mean()),
        "pos_mae_bpm": float(pos.mean()),
        "answered": float(answered.mean()),
    }
    if answered.any():
        figures["answers_within_3_bpm"] = float((error[answered] <= WITHIN).mean())
        figures["mae_bpm_of_answers"] = float(error[answered].mean())
    return figures
