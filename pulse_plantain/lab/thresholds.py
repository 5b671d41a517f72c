"""The confidence below which no heart rate is given, found from readings without a pulse.

It is the confidence that a share of such readings stays below; both shares in use stand here.
"""

from collections.abc import Sequence

import numpy as np

LOOK_SHARE = 0.97
"""Share of single looks at clips without a pulse that the threshold of a trainer lies above."""

CLIP_SHARE = 0.93
"""Share of clips without a pulse to which the whole pipeline shall give no heart rate.

It is lower than :data:`LOOK_SHARE` because the two count different things. A trainer looks once at
each clip. The pipeline searches: it looks at the whole picture and at the part where it finds a
pulse, and keeps the surer of the two. So every clip has two chances of a false alarm, and what 3 %
of single looks reach is reached by nearly 6 % of such pairs.
"""


def find_threshold(confidences: Sequence[float] | np.ndarray, share: float) -> float:
    """The confidence that a share (0 to 1) of readings without a pulse stays below."""
    return float(np.quantile(confidences, share))
