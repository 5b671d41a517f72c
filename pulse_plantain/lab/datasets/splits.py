"""Who is trained on and who is tested: by subject, by name, whatever the file system's order.

Here live the folds and the file that keeps them.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pulse_plantain.files import write_text


@dataclass(frozen=True)
class Folds:
    """How subjects are dealt into folds, and which of them is tested.

    Attributes:
        count: of folds; with two there is no validation.
        tested: the fold that is tested; the next one validates.
        seed: of the dealing.

    Raises:
        ValueError: if there is no such fold.
    """

    count: int = 5
    tested: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.tested < self.count:
            raise ValueError(f"fold must be 0 to {self.count - 1}, got {self.tested}")


def deal_folds(subjects: Iterable[str], count: int = 5, seed: int = 0) -> dict[str, int]:
    """The fold 0...count - 1 of each subject; the folds are of even size.

    Subjects are ordered by a hash of seed and label, so neither the order they come in nor that of
    the file system matters.

    Raises:
        ValueError: if there are fewer subjects than folds.
    """
    names = sorted(set(map(str, subjects)))
    if not 2 <= count <= len(names):
        raise ValueError(f"{len(names)} subjects cannot be dealt into {count} folds")
    order = sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
    return {name: number % count for number, name in enumerate(order)}


def split_subjects(subjects: Iterable[str], folds: Folds) -> dict[str, str]:
    """The split of each subject: "train", "validation" or "test".

    Raises:
        ValueError: if there are fewer subjects than folds.
    """
    dealt = deal_folds(subjects, folds.count, folds.seed)
    names = {folds.tested: "test"}
    if folds.count > 2:
        names[(folds.tested + 1) % folds.count] = "validation"
    return {subject: names.get(number, "train") for subject, number in dealt.items()}


def write_splits(path: Path, dataset: str, subjects: Iterable[str], folds: Folds) -> dict[str, str]:
    """Write a split to a JSON file (dataset, folds, fold, seed, subjects) and return it.

    Raises:
        ValueError: if there are fewer subjects than folds.
    """
    split = split_subjects(subjects, folds)
    whole = {
        "dataset": dataset,
        "folds": folds.count,
        "fold": folds.tested,
        "seed": folds.seed,
        "subjects": split,
    }
    write_text(path, json.dumps(whole, indent=1, sort_keys=True) + "\n")
    return split
