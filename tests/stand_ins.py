"""Stand-ins of the tests: noise for a clip, and a painter for the model."""

import numpy as np
import torch

from pulse_plantain.bijection import encode_phasor
from pulse_plantain.posterior import SIGNS, Weights
from pulse_plantain.sheet import SheetGeometry, field_to_sheet

GEOMETRY = SheetGeometry(bands=4, samples=96, rows=8, size=(384, 64))
FPS = 10
BPM = 72.0

NONE = (0.0,) * (len(SIGNS) - 2)
READING = Weights(
    mean=(0.0, -7.5, *NONE),
    spread=(1.5, 0.6, *(1.0,) * len(NONE)),
    sharpness=8.0,
    doubt=0.1,
    trust=(1.0, 1.5, 3.0, *NONE),
    beats=(0.0, -0.4),
    silence=(2.0, -1.0, -2.0, *NONE),
    lit=(-6.0, 0.0, 0.0, *NONE),
    scale=1.5,
    overlap=0.6,
    quiet=0.3,
)
"""Simple numbers of a reading, of which the line, the amplitude and the beats tell something."""


def noise_clip(seconds=8, size=(48, 64)):
    """[T, H, W, 3] uint8 noise."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (int(seconds * FPS), *size, 3), dtype=np.uint8)


class Painter:
    """Stands in for the model: draws the pulse that a region of the picture has, as a sheet.

    Args:
        bpm: rate, or a function of the window's times [samples] that gives the phase [samples].
        region: (left, top, right, bottom) in pixels of the only skin; None = everywhere.
        amplitude: AC/DC of full skin.
        noise: standard deviation of complex noise in every cell, drawn anew for each sheet.
    """

    def __init__(self, pipe, bpm, region=None, amplitude=0.004, noise=0.0):
        self.bpm, self.region, self.amplitude, self.noise = bpm, region, amplitude, noise
        self.looks, self.rng = [], np.random.default_rng(0)
        encode_pictures = pipe.encode_pictures
        pipe.encode_pictures = lambda windows, drawing: (
            self.looks.append(windows) or encode_pictures(windows, drawing)
        )
        pipe.decode_sheets = self.decode_sheets

    def field(self, window):
        phase = 2 * np.pi * self.bpm / 60 * window.times
        skin = self._skin(window)
        field = self.amplitude * np.exp(1j * phase)[:, None, None] * skin
        noise = self.rng.standard_normal((2, *field.shape))
        return field + self.noise * (noise[0] + 1j * noise[1])

    def _skin(self, window):
        """Share of each cell [rows, bands] that is in the region."""
        if self.region is None:
            return np.ones((GEOMETRY.rows, GEOMETRY.bands))
        shares = []
        for low, high, cells in ((1, 3, GEOMETRY.rows), (0, 2, GEOMETRY.bands)):
            edges = np.linspace(window.crop[low], window.crop[high], cells + 1)
            inside = np.clip(edges, self.region[low], self.region[high])
            shares.append(np.diff(inside) / np.diff(edges))
        return np.outer(*shares)

    def decode_sheets(self, latents, batch_size):
        windows = self.looks[-1]
        for member in range(len(latents)):
            field = self.field(windows[member % len(windows)])
            sheet = field_to_sheet(encode_phasor(field), GEOMETRY)
            yield torch.from_numpy(sheet).float().movedim(-1, 0)[None] * 2 - 1


def pulse_field(start):
    """Field of a window of 8 s in which a face beats at BPM, phase 0 at 0 s."""
    times = start + (np.arange(96) + 0.5) / 12
    face = np.zeros((8, 4))
    face[1:7, 1:3] = 0.005
    return np.exp(2j * np.pi * BPM / 60 * times)[:, None, None] * face
