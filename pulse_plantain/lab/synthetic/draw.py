"""Seeded random numbers for a batch of clips, and which seeds belong to which split.

A clip's numbers depend on its own seed only, never on the batch it is drawn in.
"""

import math

import numpy as np
import torch

SEEDS = {"train": 0, "validation": 10_000_000, "test": 20_000_000}
"""First seed of each split; a split holds 10,000,000 seeds."""

TAKES = 4
"""Seeds that share a subject: subject = seed // TAKES, so no subject crosses a split."""

_UNIFORMS = 768


def split_seeds(split, count, start=0):
    """The seeds [start, start + count) of a split, as a range.

    Raises:
        ValueError: if the split is unknown or holds fewer seeds.
    """
    if split not in SEEDS:
        raise ValueError(f"split must be one of {', '.join(SEEDS)}, got {split!r}")
    if not 0 <= start <= start + count <= 10_000_000:
        raise ValueError(f"a split holds 10,000,000 seeds, asked for {start} to {start + count}")
    return range(SEEDS[split] + start, SEEDS[split] + start + count)


def subject_of(seed):
    """Subject number of a seed: identity, tone and face geometry come from it alone."""
    return seed // TAKES


class Draw:
    """One table of uniform numbers per seed, read from left to right by every clip alike.

    Args:
        seeds: B integers >= 0.
        stream: which independent stream of the seeds to read.
    """

    def __init__(self, seeds, stream):
        self.generators = [np.random.Generator(np.random.PCG64([stream, int(s)])) for s in seeds]
        table = np.stack([g.random(_UNIFORMS) for g in self.generators])
        self.table, self.cursor = torch.from_numpy(table), 0

    def uniform(self, low=0.0, high=1.0, *shape):
        """float32 [B, *shape], uniform between low and high."""
        count = math.prod(shape)
        part = self.table[:, self.cursor : self.cursor + count]
        if part.shape[1] < count:
            raise RuntimeError("table of uniform numbers used up: raise _UNIFORMS")
        self.cursor += count
        return (low + (high - low) * part).reshape(-1, *shape).float()

    def log_uniform(self, low, high, *shape):
        """float32 [B, *shape], uniform in the logarithm."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape):
        """float32 [B, *shape], standard normal (inverse of the distribution function)."""
        return torch.erfinv(self.uniform(-1 + 1e-6, 1 - 1e-6, *shape)) * math.sqrt(2)

    def coin(self, probability, *shape):
        """float32 [B, *shape], 1 with the given probability, else 0."""
        return (self.uniform(0, 1, *shape) < probability).float()

    def noise(self, *shape):
        """float32 [B, *shape], standard normal, for textures: from the generators themselves."""
        return torch.from_numpy(
            np.stack([g.standard_normal(shape, dtype=np.float32) for g in self.generators])
        )
