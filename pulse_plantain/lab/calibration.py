"""Calibration: an adapter's threshold from clips without a pulse that the whole pipeline measures.

The clips are of the validation split, never of the test split.
"""

from dataclasses import dataclass
from pathlib import Path

from pulse_plantain.lab.evaluation import PULSE, open_rendered_clips
from pulse_plantain.lab.measuring import Instruments
from pulse_plantain.lab.thresholds import find_threshold


@dataclass(frozen=True)
class Calibration:
    """What clips without a pulse say of an adapter.

    Attributes:
        min_confidence: the threshold, to four places.
        confidences: of all clips, rising.
    """

    min_confidence: float
    confidences: list[float]


def calibrate(instruments: Instruments, null: Path, share: float) -> Calibration:
    """Measure clips without a pulse and find the confidence that a share of them stays below.

    The processes that were launched together share the clips out.

    Args:
        instruments: with the adapter.
        null: folder of rendered clips without a pulse.
        share: of the clips that shall get no heart rate.

    Raises:
        ClipError: if the folder holds no such clips.
    """
    rows = instruments.measure("calibration", open_rendered_clips(null), [PULSE])
    confidences = sorted(row["confidence"] for row in rows)
    return Calibration(round(find_threshold(confidences, share), 4), confidences)
