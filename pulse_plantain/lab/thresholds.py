"""The confidence that single looks without a pulse stay below, for the validation of a training."""

from collections.abc import Sequence

import numpy as np

LOOK_SHARE = 0.97
"""Share of single looks at clips without a pulse that the threshold of a trainer lies above."""


def find_threshold(confidences: Sequence[float] | np.ndarray, share: float) -> float:
    """The confidence that a share (0 to 1) of readings without a pulse stays below."""
    return float(np.quantile(confidences, share))
