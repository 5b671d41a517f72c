"""Recordings as training data: windows, finely divided, with their targets, in sharded files.

Here live the files, one safetensors file a recording, and the batches that are cut from them. A
window is kept as 32 x 32 cells, so that any crop and mirror image of it can be made while training.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pulse_plantain.cells import Box
from pulse_plantain.files import write_files
from pulse_plantain.lab import targets
from pulse_plantain.lab.datasets.recording import Recording, reference_rate
from pulse_plantain.sheet import Layout, SheetGeometry
from pulse_plantain.video import ClipError
from pulse_plantain.windows import ClipWindow, crop_window, encode_windows

GRID = 32
"""Cells along each side of a picture that is kept."""

VERSION = 2
"""Of the layout of a shard; part of its header."""


def make_shard(
    recording: Recording, samples: int, window: float | Iterable[float], stride: float
) -> dict[str, torch.Tensor]:
    """All windows of a recording with their targets, as tensors.

    Args:
        recording: with a reference pulse.
        samples: time samples of a window, as many as the geometry to train has.
        window: s, one length or several.
        stride: s from one window to the next of its length.

    Returns:
        motion [windows, samples, GRID, GRID, 3] float16, appearance [windows, GRID, GRID, 3]
        float16, phase [windows, samples] float32 (rad), amplitude [windows, GRID, GRID, 2] float32
        (real and imaginary part of AC/DC, 0 under the noise), bpm [windows] float32, start, seconds
        [windows] float32 (s), size [2] int32 (width, height of the pictures).

    Raises:
        ClipError: if the clip cannot be read, or no window of it has a reference.
    """
    if not len(recording.bvp):
        raise ClipError(f"{recording.name} has no reference pulse")
    geometry = SheetGeometry(GRID, samples, GRID, size=(GRID * samples, GRID))
    layout = Layout(geometry, (GRID, GRID))
    windows = encode_windows(
        recording.open_clip(), layout, clock=recording.clock, window=window, stride=stride
    )
    rows, size = [], (0, 0)
    for part in windows:
        row = _label_window(part, recording)
        if row is not None:
            rows.append(row)
            size = part.picture_size
    if not rows:
        raise ClipError(f"{recording.name}: no window has a reference pulse")
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    shard = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in columns.items()}
    return shard | {"size": torch.tensor(size, dtype=torch.int32)}


def _label_window(part: ClipWindow, recording: Recording):
    """A window with its target, an array a column of the shard; None where it has no reference."""
    bpm = reference_rate(recording.bvp, recording.bvp_times, part.start, part.end)
    try:
        phase = targets.pulse_phase(recording.bvp, recording.bvp_times, part.times)
    except ClipError:  # the label begins later or ends earlier than the video
        return None
    if not np.isfinite(bpm):
        return None
    found = targets.keep_significant(*targets.local_amplitude(part.motion, phase))
    return {
        "motion": part.motion.astype(np.float16),
        "appearance": part.appearance.astype(np.float16),
        "phase": (phase - 2 * np.pi * np.floor(phase[0] / (2 * np.pi))).astype(np.float32),
        "amplitude": np.stack([np.real(found), np.imag(found)], -1).astype(np.float32),
        "bpm": np.float32(bpm),
        "start": np.float32(part.start),
        "seconds": np.float32(part.end - part.start),
    }


def write_shard(path: Path, shard: dict[str, torch.Tensor], **header: str) -> str:
    """Write a shard with words in its header, whole or not at all.

    Returns:
        SHA-256 of the file.
    """
    metadata = {"version": str(VERSION)} | header
    write_files({path: lambda new: save_file(shard, new, metadata=metadata)})
    return hashlib.sha256(path.read_bytes()).hexdigest()


WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
"""The whole picture, in fractions of its sides."""


@dataclass(frozen=True)
class _Sample:
    """A kept window with its target.

    Attributes:
        fine: the window, in GRID x GRID cells.
        amplitude: [GRID, GRID] complex, of the pulse in each cell.
        phase: [samples] rad, of the pulse.
        figures: bpm and seconds.
    """

    fine: ClipWindow
    amplitude: np.ndarray
    phase: np.ndarray
    figures: dict[str, torch.Tensor]

    def cut(self, box: Box, layout: Layout) -> dict[str, np.ndarray]:
        """The motion, the appearance and the phasors in a box, in the cells of a sheet.

        Args:
            box: (left, top, right, bottom) in fractions of the picture.
            layout: of the sheet.
        """
        left, top, right, bottom = (side * GRID for side in box)
        cells = (left, top, right, bottom)
        part = crop_window(self.fine, cells, layout)
        # The pulse of a cell is the mean of its light's, as its motion is: crop_window does both.
        real, imaginary = np.real(self.amplitude), np.imag(self.amplitude)
        quadratures = [real, imaginary, 0 * real]
        carrier = replace(self.fine, motion=np.stack(quadratures, -1)[None].astype(np.float32))
        coarse = crop_window(carrier, cells, layout).motion[0]
        field = targets.target_field(coarse[..., 0] + 1j * coarse[..., 1], self.phase)
        return {
            "motion": part.motion,
            "appearance": part.appearance,
            "field": field.astype(np.complex64),
        }


@dataclass(frozen=True)
class Shards:
    """The windows of prepared folders, dealt out in batches.

    Batch number n is the same for every run, whatever the number of processes. Where each process
    takes numbers of its own, as in training, no two see the same sample in one epoch.

    Attributes:
        windows: (file, window) of every sample, in the order of names.
        samples: time samples of each.
    """

    windows: tuple[tuple[Path, int], ...]
    samples: int

    @classmethod
    def open(cls, folders: Sequence[str | Path], split: str) -> "Shards":
        """The windows of one split of folders of scripts/prepare.py.

        Args:
            folders: of one number of samples.
            split: "train", "validation" or "test".

        Raises:
            ClipError: if a folder was not prepared, or holds nothing of the split, or the
                folders differ in their number of samples.
        """
        windows, samples = [], set()
        for folder in map(Path, folders):
            try:
                manifest = json.loads((folder / "manifest.json").read_text())
                dealt = json.loads((folder / "splits.json").read_text())["subjects"]
            except (OSError, ValueError, KeyError) as error:
                raise ClipError(f"{folder}: not a folder of scripts/prepare.py") from error
            samples.add(manifest["samples"])
            for _, entry in sorted(manifest["recordings"].items()):
                if dealt.get(entry["subject"]) == split:
                    windows += [(folder / entry["file"], k) for k in range(entry["windows"])]
        if not windows:
            raise ClipError(f"no windows for {split} in {', '.join(map(str, folders))}")
        if len(samples) > 1:
            raise ClipError(f"the folders hold windows of {sorted(samples)} samples")
        return cls(tuple(windows), samples.pop())

    def __len__(self) -> int:
        return len(self.windows)

    def read_batch(
        self, number: int, size: int, layout: Layout, seed: int = 0, augment: bool = True
    ) -> dict[str, torch.Tensor]:
        """Batch ``number`` of an endless row of epochs, each in an order of its own.

        Args:
            number: which batch.
            size: samples of a batch.
            layout: of the sheets.
            seed: of order, crops and mirror images.
            augment: crop around the pulse and mirror; else the whole picture, in the order of
                names.

        Returns:
            motion [B, samples, rows, bands, 3], appearance [B, h, w, 3], field [B, samples, rows,
            bands] complex (the phasors to draw), bpm [B], seconds [B] (length).
        """
        rows = []
        for position in range(number * size, (number + 1) * size):
            epoch, place = divmod(position, len(self.windows))
            if augment:
                order = np.random.default_rng([seed, epoch]).permutation(len(self.windows))
                rng = np.random.default_rng([seed, epoch, place])
                rows.append(_augment(self._read(*self.windows[order[place]]), layout, rng))
            else:
                sample = self._read(*self.windows[place])
                rows.append(_to_tensors(sample.cut(WHOLE, layout)) | sample.figures)
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _read(self, path: Path, index: int) -> _Sample:
        """One window of a file."""
        with safe_open(path, framework="np") as file:
            part = {name: file.get_slice(name)[index : index + 1][0] for name in _FIELDS}
            width, height = (int(side) for side in file.get_tensor("size"))
        start, seconds = float(part["start"]), float(part["seconds"])
        fine = ClipWindow(
            start=start,
            end=start + seconds,
            times=start + (np.arange(self.samples) + 0.5) * seconds / self.samples,
            motion=part["motion"].astype(np.float32),
            appearance=part["appearance"].astype(np.float32),
            frames=self.samples,
            longest_gap=0.0,
            crop=(0.0, 0.0, float(width), float(height)),
            picture_size=(width, height),
        )
        amplitude = part["amplitude"][..., 0] + 1j * part["amplitude"][..., 1]
        figures = {name: torch.tensor(float(part[name])) for name in ("bpm", "seconds")}
        return _Sample(fine, amplitude, part["phase"], figures)


_FIELDS = ("motion", "appearance", "phase", "amplitude", "bpm", "start", "seconds")


def _augment(sample: _Sample, layout: Layout, rng: np.random.Generator):
    """A random crop of a sample, mirrored in one case of two."""
    pictures = sample.cut(_draw_box(rng, np.abs(sample.amplitude)), layout)
    if rng.random() < 0.5:  # left and right change places
        pictures["motion"] = pictures["motion"][:, :, ::-1]
        pictures["appearance"] = pictures["appearance"][:, ::-1]
        pictures["field"] = pictures["field"][:, :, ::-1]
    return _to_tensors(pictures) | sample.figures


def _to_tensors(pictures):
    """Arrays as tensors, by the same names."""
    return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in pictures.items()}


def _draw_box(rng: np.random.Generator, strength: np.ndarray) -> Box:
    """A random box around a pulse, loosely; in one case of three the whole picture.

    Args:
        rng: draws.
        strength: [rows, columns] of the pulse, >= 0.

    Returns:
        (left, top, right, bottom) in fractions of the picture.
    """
    if rng.random() < 1 / 3 or not strength.any():
        return WHOLE
    rows, columns = strength.shape
    y, x = np.mgrid[:rows, :columns] + 0.5
    weight = strength / strength.sum()
    centre = np.array([(x * weight).sum() / columns, (y * weight).sum() / rows])
    spread = np.array(
        [
            np.sqrt(((x / columns - centre[0]) ** 2 * weight).sum()),
            np.sqrt(((y / rows - centre[1]) ** 2 * weight).sum()),
        ]
    )
    half = np.maximum(spread * rng.uniform(1.2, 3.5, 2), 2 / rows)
    centre = centre + spread * rng.uniform(-0.7, 0.7, 2)
    low, high = np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)
    narrow = high - low < 3 / rows
    low, high = np.where(narrow, 0, low), np.where(narrow, 1, high)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])
