"""Pictures become the mean colours of a grid of cells, in fractions of a grey level.

Here live area means of arrays and of a decoder's own frames; nothing knows of clips or of time.
"""

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
from av import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from scipy import sparse

from . import clock, containers

Box = tuple[float, float, float, float]
"""(left, top, right, bottom): of a crop in pixels, or of a part in cells."""

LARGEST_CELL = 256
"""Pixels along a side of a cell up to which swscale, FFmpeg's scaler, averages."""

_LUMA = {
    1: (0.2126, 0.0722),  # ITU-R BT.709
    4: (0.30, 0.11),  # FCC, 47 CFR 73.682
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # ITU-R BT.2020
    10: (0.2627, 0.0593),
}
"""FFmpeg's number of a colour space -> the shares of red and blue in luma."""

_LUMA_601 = (0.299, 0.114)
"""ITU-R BT.601, which FFmpeg takes every other number for."""

_FULL_RANGE = 2

_PLANES = ("yuv", "yuyv", "uyvy", "nv1", "nv2", "p010", "gray")
"""How the names of FFmpeg's formats of luma and chroma begin."""


def area_weights(lower: float, upper: float, cells: int, length: int) -> sparse.csr_array:
    """Weights that average a line of pixels over equal cells; pixels on an edge by their share.

    Args:
        lower, upper: ends of the line of cells, in pixels; pixel j covers [j, j + 1).
        cells: number of cells.
        length: number of pixels.

    Returns:
        [cells, length] float32, every row sums to 1.
    """
    edges = np.linspace(lower, upper, cells + 1)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(overlap, 0) * cells / (upper - lower)
    return sparse.csr_array(weights.astype(np.float32))


@lru_cache(256)
def weigh_area(lower: float, upper: float, cells: int, length: int) -> np.ndarray:
    """:func:`area_weights` as a plain array, of which a search asks for the same few."""
    return area_weights(lower, upper, cells, length).toarray()


class AreaMean:
    """Mean colours of a grid of cells over a crop of a picture, in float, in two small products.

    Args:
        picture_size: (width, height) in pixels.
        crop: (left, top, right, bottom) in pixels, fractions allowed.
        grid: (columns, rows).
    """

    def __init__(self, picture_size: tuple[int, int], crop: Box, grid: tuple[int, int]):
        left, top, right, bottom = crop
        # Only the pixels that count are ever turned into floats.
        self.columns = slice(int(np.floor(left)), int(np.ceil(right)))
        self.rows = slice(int(np.floor(top)), int(np.ceil(bottom)))
        x, y = self.columns.start, self.rows.start
        self.across = area_weights(left - x, right - x, grid[0], self.columns.stop - x)
        self.down = area_weights(top - y, bottom - y, grid[1], self.rows.stop - y)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Means [rows, columns, 3] float32 in [0, 1] of a picture [H, W, 3]."""
        scale = 1 / np.iinfo(picture.dtype).max if picture.dtype.kind == "u" else 1
        pixels = picture[self.rows, self.columns].astype(np.float32)
        height, width, channels = pixels.shape
        lines = (self.down @ pixels.reshape(height, -1)).reshape(-1, width, channels)
        cells = self.across @ lines.transpose(1, 0, 2).reshape(width, -1)
        return cells.reshape(-1, len(lines), channels).transpose(1, 0, 2) * np.float32(scale)


class FrameMean:
    """Mean colours of a grid of cells over a whole frame, from the decoder's YUV planes.

    FFmpeg's scaler averages the planes, each at its own resolution, to 1/256 of a grey level of 8
    bits; the colour matrix, which is linear, is applied to the means. So nothing of the size of the
    frame is copied or converted, and the means are nearer to the truth than those of FFmpeg's RGB,
    which is up to two levels too dark. Where pixels are out of the range of RGB, which a picture in
    RGB cuts off, the mean is of what they are.

    Args:
        grid: (columns, rows).
    """

    def __init__(self, grid: tuple[int, int]):
        self.grid = grid
        self._scaler = VideoReformatter()

    def takes(self, frame: VideoFrame) -> bool:
        """Whether a frame is of this kind: YUV or grey, and of more pixels than cells."""
        name = frame.format.name
        sides = zip((frame.width, frame.height), self.grid, strict=True)
        return name.startswith(_PLANES) and all(
            cells <= pixels <= LARGEST_CELL * cells for pixels, cells in sides
        )

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Means [rows, columns, 3] float32 of a frame as it is stored; nominally in [0, 1]."""
        full = frame.color_range == _FULL_RANGE or frame.format.name.startswith(("yuvj", "gray"))
        columns, rows = self.grid
        small = self._scaler.reformat(
            frame,
            columns,
            rows,
            "yuv444p16le",
            interpolation=Interpolation.AREA | Interpolation.ACCURATE_RND,
            src_color_range=_FULL_RANGE if full else 1,
            dst_color_range=_FULL_RANGE if full else 1,
            threads=1,
        )
        levels = small.to_ndarray().reshape(rows * columns, 3).astype(np.float32)
        matrix, black = find_colour_matrix(frame.colorspace, full)
        return (levels @ matrix + black).reshape(rows, columns, 3)


class CellMeans:
    """Mean colours of a grid of cells over a crop of pictures of either kind.

    Args:
        picture_size: (width, height) of the upright pictures in pixels.
        crop: (left, top, right, bottom) in pixels of the upright picture, fractions allowed.
        grid: (columns, rows).
    """

    def __init__(self, picture_size: tuple[int, int], crop: Box, grid: tuple[int, int]):
        self._of_arrays = AreaMean(picture_size, crop, grid)
        self._whole = crop == (0.0, 0.0, *map(float, picture_size))
        self._of_frames = FrameMean(grid)
        self._of_turned = FrameMean((grid[1], grid[0]))

    def __call__(self, picture: np.ndarray | containers.Decoded) -> np.ndarray:
        """Means [rows, columns, 3] float32 of an upright picture.

        Raises:
            ClipError: if it is of floats that do not lie in [0, 1].
        """
        if isinstance(picture, containers.Decoded):
            means = self._of_turned if picture.turn.transposed else self._of_frames
            if self._whole and means.takes(picture.frame):
                return picture.turn.apply(np.maximum(means(picture.frame), 0))
            picture = picture.to_rgb()
        found = self._of_arrays(picture)
        if not (found.min() >= -0.01 and found.max() <= 1.01):
            raise clock.ClipError(
                f"float pictures must lie in [0, 1], got {found.min():.3g} to {found.max():.3g}"
            )
        return found


@cache
def find_colour_matrix(colorspace: int, full: bool) -> tuple[np.ndarray, np.ndarray]:
    """What takes 16-bit luma and chroma to RGB in [0, 1].

    Args:
        colorspace: FFmpeg's number, of ITU-T H.273, table 4.
        full: whether luma runs from 0 to 255 (in 8 bits) and not from 16 to 235.

    Returns:
        (M [3, 3], offset [3]) float32: RGB = [Y, Cb, Cr] @ M + offset.
    """
    red, blue = _LUMA.get(int(colorspace), _LUMA_601)
    green = 1 - red - blue
    to_rgb = np.array([
        [1.0, 1.0, 1.0],
        [0.0, -2 * blue * (1 - blue) / green, 2 * (1 - blue)],
        [2 * (1 - red), -2 * red * (1 - red) / green, 0.0],
    ])  # fmt: skip
    spans = np.array([255.0, 255.0, 255.0] if full else [219.0, 224.0, 224.0])
    zeros = np.array([0.0 if full else 16.0, 128.0, 128.0])
    matrix = to_rgb / (256 * spans[:, None])
    return matrix.astype(np.float32), (-256 * zeros @ matrix).astype(np.float32)
