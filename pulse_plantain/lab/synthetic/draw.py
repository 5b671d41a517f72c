"""Seeded random numbers for a batch of clips, and which seeds belong to which split.

A clip's numbers depend on its own seed only, never on the batch it is drawn in.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

SPLITS = ("train", "validation", "test")
"""What clips are for."""

LIGHTS = ("plain", "camera", "lamp")
"""Recipes of light: the first one; light as cameras see it (see cameras.py); the same on clips
without a pulse, of which half stand under a lamp that beats evenly over the whole picture."""


def name_split(split: str, light: str = "plain") -> str:
    """Name of a split's clips under a light, as "camera-test"; under plain light its own name."""
    return split if light == LIGHTS[0] else f"{light}-{split}"


SEEDS = {
    name_split(split, light): 10_000_000 * (len(SPLITS) * i + j)
    for i, light in enumerate(LIGHTS)
    for j, split in enumerate(SPLITS)
}
"""First seed of each split and light; a split holds 10,000,000 seeds."""

TAKES = 4
"""Seeds that share a subject: subject = seed // TAKES, so no subject crosses a split."""

_UNIFORMS = 768


def split_seeds(split: str, count: int, start: int = 0) -> range:
    """The seeds [start, start + count) of a split.

    Raises:
        ValueError: if the split is unknown or holds fewer seeds.
    """
    if split not in SEEDS:
        raise ValueError(f"split must be one of {', '.join(SEEDS)}, got {split!r}")
    if not 0 <= start <= start + count <= 10_000_000:
        raise ValueError(f"a split holds 10,000,000 seeds, asked for {start} to {start + count}")
    return range(SEEDS[split] + start, SEEDS[split] + start + count)


def subject_of(seed: int) -> int:
    """Subject number of a seed: identity, tone and face geometry come from it alone."""
    return seed // TAKES


class Draw:
    """One table of uniform numbers per seed, which every clip reads from left to right.

    A seed means a clip only as long as the numbers are asked for in the same order, so a new
    property of a scene must be drawn after all others. The numbers come from the processor, so they
    are the same everywhere, and lie on torch's default device.

    Args:
        seeds: B integers >= 0.
        stream: which independent stream of the seeds to read.
    """

    def __init__(self, seeds: Iterable[int], stream: int):
        self.generators = [np.random.Generator(np.random.PCG64([stream, int(s)])) for s in seeds]
        table = np.stack([g.random(_UNIFORMS) for g in self.generators])
        self.table, self.cursor = torch.tensor(table), 0

    def uniform(self, low: float = 0.0, high: float = 1.0, *shape: int) -> Tensor:
        """Uniform numbers between low and high, float32 [B, *shape].

        Raises:
            RuntimeError: if the table is used up.
        """
        count = math.prod(shape)
        part = self.table[:, self.cursor : self.cursor + count]
        if part.shape[1] < count:
            raise RuntimeError("table of uniform numbers used up: raise _UNIFORMS")
        self.cursor += count
        return (low + (high - low) * part).reshape(-1, *shape).float()

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Numbers that are uniform in the logarithm, float32 [B, *shape]."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float32 [B, *shape] (inverse of the distribution function)."""
        return torch.erfinv(self.uniform(-1 + 1e-6, 1 - 1e-6, *shape)) * math.sqrt(2)

    def coin(self, probability: float, *shape: int) -> Tensor:
        """1 with the given probability, else 0; float32 [B, *shape]."""
        return (self.uniform(0, 1, *shape) < probability).float()

    def uniform_map(self, low: float, high: float) -> Tensor:
        """One uniform number a clip as [B, 1, 1], to be broadcast over its picture."""
        return self.uniform(low, high, 1, 1)

    def log_uniform_map(self, low: float, high: float) -> Tensor:
        """One number a clip that is uniform in the logarithm, as [B, 1, 1]."""
        return self.log_uniform(low, high, 1, 1)

    def coin_map(self, probability: float) -> Tensor:
        """One coin a clip as [B, 1, 1], to be broadcast over its picture."""
        return self.coin(probability, 1, 1)

    def noise(self, *shape: int) -> Tensor:
        """Standard normal noise for textures, float32 [B, *shape], from the generators."""
        return torch.tensor(
            np.stack([g.standard_normal(shape, dtype=np.float32) for g in self.generators])
        )
