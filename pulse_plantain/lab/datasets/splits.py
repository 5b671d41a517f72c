"""Who is trained on and who is tested: by subject, by name, whatever the file system's order."""

import hashlib
import json
from pathlib import Path

SPLITS = ("train", "validation", "test")


def fold_of_subjects(subjects, folds=5, seed=0):
    """dict subject -> fold 0...folds - 1, folds of even size.

    Subjects are ordered by a hash of seed and label, so neither the order they come in nor that of
    the file system matters.

    Raises:
        ValueError: if there are fewer subjects than folds.
    """
    subjects = sorted(set(map(str, subjects)))
    if not 2 <= folds <= len(subjects):
        raise ValueError(f"{len(subjects)} subjects cannot be dealt into {folds} folds")
    order = sorted(subjects, key=lambda s: hashlib.sha256(f"{seed}/{s}".encode()).hexdigest())
    return {subject: number % folds for number, subject in enumerate(order)}


def split_of_subjects(subjects, folds=5, fold=0, seed=0):
    """dict subject -> "test" in the given fold, "validation" in the next, else "train".

    With two folds there is no validation.

    Raises:
        ValueError: if there is no such fold, or there are fewer subjects than folds.
    """
    if not 0 <= fold < folds:
        raise ValueError(f"fold must be 0 to {folds - 1}, got {fold}")
    dealt = fold_of_subjects(subjects, folds, seed)
    names = {fold: "test"}
    if folds > 2:
        names[(fold + 1) % folds] = "validation"
    return {subject: names.get(number, "train") for subject, number in dealt.items()}


def write_splits(path, dataset, subjects, folds=5, fold=0, seed=0):
    """Writes a split to a JSON file (dataset, folds, fold, seed, subjects) and returns it."""
    split = split_of_subjects(subjects, folds, fold, seed)
    whole = {"dataset": dataset, "folds": folds, "fold": fold, "seed": seed, "subjects": split}
    path = Path(path)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
    new.replace(path)
    return split
