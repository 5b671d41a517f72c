"""The temporal clip encoder: a clip becomes, window by window, an appearance and a motion field.

Here live reading, true time stamps, area and box means, the layout of the space-time sheet, and
pictures of a field over the face; no model, no filter and no heart rate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch

if __package__:
    from .bijection import MOTION_SCALE, encode_phasor, inverse_power_transform, power_transform
else:  # plain import from the repo root
    import bijection as _bijection

    MOTION_SCALE = _bijection.MOTION_SCALE
    encode_phasor = _bijection.encode_phasor
    inverse_power_transform = _bijection.inverse_power_transform
    power_transform = _bijection.power_transform


class ClipError(ValueError):
    """A clip that cannot be measured; the message is one line a person can act on."""


# ------------------------------------------------------------------------------ the sheet's layout


@dataclass(frozen=True)
class SheetGeometry:
    """Layout of the space-time sheet: bands side by side, time to the right within each.

    Band b covers x in [b W / bands, (b + 1) W / bands); within it x is time and y the row, row 0
    on top, so the sheet is laid out as the face is.

    Args:
        bands: vertical bands of the crop.
        samples: time samples of a window.
        rows: rows of cells in the crop.
        size: (width, height) of the sheet in pixels, multiples of 16 (one token of FLUX.2).

    Raises:
        ValueError: if the cells do not fill the sheet, or the tokens do not.
    """

    bands: int
    samples: int
    rows: int
    size: tuple[int, int]

    def __post_init__(self):
        object.__setattr__(self, "size", tuple(int(side) for side in self.size))
        width, height = self.size
        if min(self.bands, self.samples, self.rows, width, height) < 1:
            raise ValueError(f"every number of a sheet geometry must be at least 1, got {self}")
        if width % (self.bands * self.samples) or height % self.rows:
            raise ValueError(f"width must be k * bands * samples and height k * rows, got {self}")
        if width % 16 or height % 16:
            raise ValueError(f"width and height must be multiples of 16, got {self}")

    @property
    def cell(self) -> tuple[int, int]:
        """(width, height) in pixels of one cell at one sample."""
        return self.size[0] // (self.bands * self.samples), self.size[1] // self.rows

    @property
    def field_shape(self) -> tuple[int, int, int]:
        """(samples, rows, bands) of a field."""
        return self.samples, self.rows, self.bands

    def to_dict(self) -> dict:
        """Plain numbers for a JSON file."""
        return {**asdict(self), "size": list(self.size)}

    @classmethod
    def from_dict(cls, numbers: dict) -> SheetGeometry:
        """Inverse of :meth:`to_dict`."""
        return cls(**numbers)


def field_to_sheet(field, geometry: SheetGeometry):
    """Lay a field out as a sheet; every cell and sample fills its rectangle of pixels.

    Args:
        field: [..., samples, rows, bands, C] array or tensor.
        geometry: the layout.

    Returns:
        [..., H, W, C], same kind, dtype and device.

    Raises:
        ValueError: if the field has another shape.
    """
    if tuple(field.shape[-4:-1]) != geometry.field_shape:
        raise ValueError(
            f"a field must be [..., samples, rows, bands, C] = [..., "
            f"{', '.join(map(str, geometry.field_shape))}, C], got shape {tuple(field.shape)}"
        )
    xp = torch if isinstance(field, torch.Tensor) else np
    lead, channels = tuple(field.shape[:-4]), field.shape[-1]
    across, down = geometry.cell
    width, height = geometry.size
    cells = xp.moveaxis(field, -4, -2)[..., :, None, :, :, None, :]
    full = (*lead, geometry.rows, down, geometry.bands, geometry.samples, across, channels)
    return xp.broadcast_to(cells, full).reshape(*lead, height, width, channels)


def sheet_to_field(sheet, geometry: SheetGeometry):
    """Read a sheet back: the mean over each cell's pixels; exact inverse of field_to_sheet.

    Args:
        sheet: [..., H, W, C] array or tensor of floats or complex numbers.
        geometry: the layout.

    Returns:
        [..., samples, rows, bands, C], same kind, dtype and device.

    Raises:
        ValueError: if the sheet has another size.
    """
    width, height = geometry.size
    if tuple(sheet.shape[-3:-1]) != (height, width):
        raise ValueError(
            f"a sheet must be {width} x {height} pixels (width x height), "
            f"got shape {tuple(sheet.shape)}"
        )
    xp = torch if isinstance(sheet, torch.Tensor) else np
    lead, channels = tuple(sheet.shape[:-3]), sheet.shape[-1]
    across, down = geometry.cell
    pixels = sheet.reshape(
        *lead, geometry.rows, down, geometry.bands, geometry.samples, across, channels
    )
    return xp.moveaxis(pixels.mean((-5, -2)), -2, -4)


def motion_sheet(motion, geometry: SheetGeometry):
    """Motion sheet [..., H, W, 3] in (0, 1) of a motion field [..., samples, rows, bands, 3].

    0.5 + 0.5 f(motion) with the signed power transform at the fixed scale MOTION_SCALE.
    """
    return field_to_sheet(0.5 + 0.5 * power_transform(motion, MOTION_SCALE), geometry)


def motion_from_sheet(sheet, geometry: SheetGeometry):
    """Motion field of a motion sheet: inverse of :func:`motion_sheet`."""
    return inverse_power_transform(2 * sheet_to_field(sheet, geometry) - 1, MOTION_SCALE)


# -------------------------------------------------------------------------------------- the window


@dataclass(frozen=True)
class ClipWindow:
    """One window of a clip as the model sees it. Times are seconds after the first picture.

    Attributes:
        start, end: of the window (s).
        times: [samples] centres of the samples (s).
        motion: [samples, rows, bands, 3] float32, (I - mean) / mean of each cell and channel, the
            mean over the window; 0 where a cell is black throughout.
        appearance: [h, w, 3] float32 in [0, 1], the mean picture of the crop.
        frames: different pictures shown in the window.
        longest_gap: longest time in the window without a new picture (s); 1 / fps where none is
            missing. Gaps are bridged by straight lines, so a long one hides beats.
        crop: (left, top, right, bottom) of the crop in pixels.
        picture_size: (width, height) of the whole picture in pixels.
    """

    start: float
    end: float
    times: np.ndarray
    motion: np.ndarray
    appearance: np.ndarray
    frames: int
    longest_gap: float
    crop: tuple[float, float, float, float]
    picture_size: tuple[int, int]

    @property
    def sampling_rate(self) -> float:
        """Samples a second (Hz)."""
        return len(self.times) / (self.end - self.start)


def encode_windows(
    clip,
    geometry: SheetGeometry,
    *,
    fps: float | None = None,
    timestamps=None,
    window: float = 8.0,
    stride: float | None = None,
    crop: tuple[float, float, float, float] | None = None,
    appearance_size: tuple[int, int] = (64, 64),
) -> Iterator[ClipWindow]:
    raise NotImplementedError
