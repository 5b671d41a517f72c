"""Where recordings come from: data sets as a command line names them, and who of them is used.

A data set is named ``NAME:DIR``; a splits.json of scripts/prepare.py says who is used for what.
"""

import json
import sys
from pathlib import Path

from pulse_plantain.lab.datasets import DATASETS, Recording, open_dataset
from pulse_plantain.video import ClipError


def open_labelled(source: str) -> list[Recording]:
    """Recordings of ``NAME:DIR`` that have a reference pulse; the damaged ones are reported.

    Raises:
        ClipError: if the source is named otherwise, or nothing in it is a recording.
    """
    name, _, root = source.partition(":")
    if name not in DATASETS or not root:
        raise ClipError(f"data must be given as NAME:DIR, NAME one of {', '.join(DATASETS)}")
    recordings, damaged = open_dataset(name, root)
    for label, reason in damaged.items():
        print(f"left out {label}: {reason}", file=sys.stderr)
    return [recording for recording in recordings if len(recording.bvp) and recording.bpm > 0]


def choose_subjects(recordings: list[Recording], splits: Path, part: str) -> list[Recording]:
    """The recordings of the subjects that a splits.json deals to one part.

    Args:
        recordings: of a data set.
        splits: a splits.json of scripts/prepare.py.
        part: "train", "validation" or "test".

    Raises:
        ClipError: if there are none or it is no such file.
    """
    try:
        dealt = json.loads(splits.read_text())["subjects"]
    except (ValueError, KeyError) as error:
        raise ClipError(f"{splits}: not a splits.json of prepare.py") from error
    chosen = [recording for recording in recordings if dealt.get(recording.subject) == part]
    if not chosen:
        raise ClipError(f"{splits}: none of its {part} subjects is in the data")
    return chosen
