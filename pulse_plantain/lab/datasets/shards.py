"""Recordings as training data: windows, finely divided, with their targets, in sharded files.

One safetensors file a recording, written whole or not at all. A window is kept as 32 x 32 cells,
so that any crop and mirror image of it can be made while training.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pulse_plantain.lab import targets
from pulse_plantain.lab.datasets.recording import Recording, reference_rate
from pulse_plantain.sheet import Layout, SheetGeometry
from pulse_plantain.video import ClipError
from pulse_plantain.windows import ClipWindow, crop_window, encode_windows

GRID = 32
"""Cells along each side of a picture that is kept."""

VERSION = 2
"""Of the layout of a shard; part of its header."""


def shard_of(recording: Recording, samples, window, stride):
    """All windows of a recording with their targets, as tensors.

    Args:
        recording: with a reference pulse.
        samples: time samples of a window, as many as the geometry to train has.
        window: s, one length or several.
        stride: s from one window to the next of its length.

    Returns:
        dict of motion [windows, samples, GRID, GRID, 3] float16, appearance [windows, GRID, GRID,
        3] float16, phase [windows, samples] float32 (rad), amplitude [windows, GRID, GRID, 2]
        float32 (real and imaginary part of AC/DC, 0 under the noise), bpm [windows] float32,
        start, seconds [windows] float32 (s), size [2] int32 (width, height of the pictures).

    Raises:
        ClipError: if the clip cannot be read, or no window of it has a reference.
    """
    if not len(recording.bvp):
        raise ClipError(f"{recording.name} has no reference pulse")
    geometry = SheetGeometry(GRID, samples, GRID, size=(GRID * samples, GRID))
    layout = Layout(geometry, (GRID, GRID))
    rows = []
    for part in encode_windows(
        recording.source()["clip"],
        layout,
        clock=recording.clock,
        window=window,
        stride=stride,
    ):
        bpm = reference_rate(recording.bvp, recording.bvp_times, part.start, part.end)
        try:
            phase = targets.pulse_phase(recording.bvp, recording.bvp_times, part.times)
        except ClipError:  # the label begins later or ends earlier than the video
            continue
        if not np.isfinite(bpm):
            continue
        found = targets.keep_significant(*targets.local_amplitude(part.motion, phase))
        rows.append(
            {
                "motion": part.motion.astype(np.float16),
                "appearance": part.appearance.astype(np.float16),
                "phase": (phase - 2 * np.pi * np.floor(phase[0] / (2 * np.pi))).astype(np.float32),
                "amplitude": np.stack([found.real, found.imag], -1).astype(np.float32),
                "bpm": np.float32(bpm),
                "start": np.float32(part.start),
                "seconds": np.float32(part.end - part.start),
            }
        )
        size = part.picture_size
    if not rows:
        raise ClipError(f"{recording.name}: no window has a reference pulse")
    shard = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    shard = {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in shard.items()}
    return shard | {"size": torch.tensor(size, dtype=torch.int32)}


def write_shard(path, shard, **header):
    """Writes a shard with words in its header; the file is there only when it is whole.

    Returns:
        SHA-256 of the file.
    """
    path = Path(path)
    new = path.with_suffix(".new")
    words = {name: str(word) for name, word in header.items()}
    save_file(shard, new, metadata={"version": str(VERSION)} | words)
    digest = hashlib.sha256(new.read_bytes()).hexdigest()
    new.replace(path)
    return digest


@dataclass(frozen=True)
class Shards:
    """The windows of prepared folders, dealt out in batches.

    Batch number n is the same for every run, whatever the number of processes: where each takes
    the numbers of its own (as the trainer does), no two see the same sample in one epoch.

    Attributes:
        windows: (file, window) of every sample, in the order of names.
        samples: time samples of each.
    """

    windows: tuple
    samples: int

    @classmethod
    def open(cls, folders, split):
        """The windows of one split ("train", "validation", "test") of folders of prepare.py.

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

    def __len__(self):
        return len(self.windows)

    def batch(self, number, size, geometry, appearance_size, seed=0, augment=True):
        """Batch ``number`` of an endless row of epochs, each in an order of its own.

        Args:
            number: which batch.
            size: samples of a batch.
            geometry, appearance_size: see :class:`~clip_encoder.SheetGeometry`; of the sheets.
            seed: of order, crops and mirror images.
            augment: crop around the pulse and mirror; else the whole picture, in the order of
                names.

        Returns:
            dict of motion [B, samples, rows, bands, 3], appearance [B, h, w, 3], field [B,
            samples, rows, bands] complex (the phasors to draw), bpm [B], seconds [B] (length).
        """
        rows = []
        for place in range(number * size, (number + 1) * size):
            epoch, place = divmod(place, len(self.windows))
            rng = np.random.default_rng([seed, epoch, place])
            if augment:
                place = np.random.default_rng([seed, epoch]).permutation(len(self.windows))[place]
            fine, amplitude, phase, figures = self._read(*self.windows[place])
            box, mirrored = (0.0, 0.0, 1.0, 1.0), False
            if augment:
                box, mirrored = _random_box(rng, np.abs(amplitude), fine), rng.random() < 0.5
            pictures = _cut(fine, amplitude, phase, box, mirrored, geometry, appearance_size)
            rows.append(pictures | figures)
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _read(self, path, index):
        with safe_open(path, framework="np") as file:
            part = {name: file.get_slice(name)[index : index + 1][0] for name in _FIELDS}
            size = tuple(int(side) for side in file.get_tensor("size"))
        start, seconds = float(part["start"]), float(part["seconds"])
        fine = ClipWindow(
            start=start,
            end=start + seconds,
            times=start + (np.arange(self.samples) + 0.5) * seconds / self.samples,
            motion=part["motion"].astype(np.float32),
            appearance=part["appearance"].astype(np.float32),
            frames=self.samples,
            longest_gap=0.0,
            crop=(0.0, 0.0, *map(float, size)),
            picture_size=size,
        )
        amplitude = part["amplitude"][..., 0] + 1j * part["amplitude"][..., 1]
        figures = {name: torch.tensor(float(part[name])) for name in ("bpm", "seconds")}
        return fine, amplitude, part["phase"], figures


_FIELDS = ("motion", "appearance", "phase", "amplitude", "bpm", "start", "seconds")


def _random_box(rng, strength, fine):
    """Box in fractions of the picture: the whole in one of three, else loosely around the pulse."""
    if rng.random() < 1 / 3 or not strength.any():
        return 0.0, 0.0, 1.0, 1.0
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


def _cut(fine, amplitude, phase, box, mirrored, geometry, appearance_size):
    """One sample: the box of a window in the sheet's cells, with its phasors."""
    cells = [side * GRID for side in box]
    part = crop_window(fine, cells, Layout(geometry, appearance_size))
    # The pulse of a cell is the mean of its light's, as its motion is: crop_window does both.
    quadratures = np.stack([amplitude.real, amplitude.imag, 0 * amplitude.real], -1)
    carrier = ClipWindow(**{**vars(fine), "motion": quadratures[None].astype(np.float32)})
    coarse = crop_window(carrier, cells, Layout(geometry, appearance_size)).motion[0]
    field = targets.target_field(coarse[..., 0] + 1j * coarse[..., 1], phase)
    motion, appearance = part.motion, part.appearance
    if mirrored:
        motion, field, appearance = motion[:, :, ::-1], field[:, :, ::-1], appearance[:, ::-1]
    return {
        "motion": torch.from_numpy(np.ascontiguousarray(motion)),
        "appearance": torch.from_numpy(np.ascontiguousarray(appearance)),
        "field": torch.from_numpy(np.ascontiguousarray(field.astype(np.complex64))),
    }
