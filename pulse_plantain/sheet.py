"""The space-time sheet: how a field of cells and samples is laid out as one picture, and back.

Here live the geometry, the two layouts and the motion sheet; no clip, no model and no heart rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from . import bijection


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

    def check_sheet(self, shape: Sequence[int]) -> None:
        """ValueError unless ``shape`` is that of sheets, [..., H, W, C]."""
        width, height = self.size
        if tuple(shape[-3:-1]) != (height, width):
            raise ValueError(
                f"a sheet of this geometry is {width} x {height} pixels, got shape {tuple(shape)}"
            )

    def to_dict(self) -> dict:
        """Plain numbers for a JSON file."""
        return {**asdict(self), "size": list(self.size)}

    @classmethod
    def from_dict(cls, numbers: dict) -> SheetGeometry:
        """Inverse of :meth:`to_dict`."""
        return cls(**numbers)


@dataclass(frozen=True)
class Layout:
    """The two pictures that the model sees of a window.

    Args:
        geometry: of the motion sheet, which is also the pulse sheet's.
        appearance_size: (width, height) of the appearance image in pixels, multiples of
            (bands, rows).

    Raises:
        ValueError: if the cells do not divide the appearance image.
    """

    geometry: SheetGeometry
    appearance_size: tuple[int, int] = (64, 64)

    def __post_init__(self):
        object.__setattr__(self, "appearance_size", tuple(int(s) for s in self.appearance_size))
        width, height = self.appearance_size
        if width % self.geometry.bands or height % self.geometry.rows:
            raise ValueError(
                f"appearance_size must be multiples of {self.geometry.bands} bands and "
                f"{self.geometry.rows} rows, got {self.appearance_size}"
            )


def field_to_sheet(field: bijection.Array, geometry: SheetGeometry) -> bijection.Array:
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
    xp: Any = torch if isinstance(field, torch.Tensor) else np
    lead, channels = tuple(field.shape[:-4]), field.shape[-1]
    across, down = geometry.cell
    width, height = geometry.size
    cells = xp.moveaxis(field, -4, -2)[..., :, None, :, :, None, :]
    full = (*lead, geometry.rows, down, geometry.bands, geometry.samples, across, channels)
    return xp.broadcast_to(cells, full).reshape(*lead, height, width, channels)


def sheet_to_field(sheet: bijection.Array, geometry: SheetGeometry) -> bijection.Array:
    """Read a sheet back: the mean over each cell's pixels, inverse of field_to_sheet.

    Args:
        sheet: [..., H, W, C] array or tensor of floats or complex numbers.
        geometry: the layout.

    Returns:
        [..., samples, rows, bands, C], same kind, dtype and device.

    Raises:
        ValueError: if the sheet has another size.
    """
    geometry.check_sheet(sheet.shape)
    xp: Any = torch if isinstance(sheet, torch.Tensor) else np
    lead, channels = tuple(sheet.shape[:-3]), sheet.shape[-1]
    across, down = geometry.cell
    pixels = sheet.reshape(
        *lead, geometry.rows, down, geometry.bands, geometry.samples, across, channels
    )
    return xp.moveaxis(pixels.mean((-5, -2)), -2, -4)


def motion_sheet(motion: bijection.Array, geometry: SheetGeometry) -> bijection.Array:
    """Motion sheet [..., H, W, 3] in (0, 1) of a motion field [..., samples, rows, bands, 3].

    0.5 + 0.5 f(motion) with the signed power transform at the fixed scale bijection.MOTION_SCALE.
    """
    return field_to_sheet(
        0.5 + 0.5 * bijection.power_transform(motion, bijection.MOTION_SCALE), geometry
    )


def read_levels(image: Any) -> np.ndarray:
    """Pixels [H, W, 3] of a PIL image or an array; those of eight bits as floats in [0, 1]."""
    pixels = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image)
    return pixels / np.float32(255) if pixels.dtype == np.uint8 else pixels
