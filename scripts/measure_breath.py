"""Measures how well a respiratory rate is read off a pulse, beside a known breath.

Writes results/breath.json. The finger recordings are a folder that is given, in the layout of the
Welltory PPG data set; of them nothing but the figures is kept.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from pulse_plantain.lab.breathing import measure_fingers, measure_hearts, sum_up
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.training import describe_run

ROOT = Path(__file__).resolve().parents[1]

NOISES = (0.0, 0.5, 1.0)
"""Standard deviations of the noise on rendered pulses, in amplitudes of their fundamental."""


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--fingers", type=Path, help="folder of finger recordings")
    parser.add_argument("--count", type=int, default=200, help="rendered hearts (default: 200)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "breath.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, write and print; 2 where that cannot be done, with one line that says why."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    rows = {f"rendered, noise {noise:g}": measure_hearts(args.count, noise) for noise in NOISES}
    try:
        if args.fingers:
            rows["fingers"] = measure_fingers(args.fingers)
    except (OSError, ValueError) as error:
        print(f"measure_breath: {error}", file=sys.stderr)
        return 2
    figures = {name: sum_up(some) for name, some in rows.items()}
    result = describe_run(seed=0) | {"command": describe_command("measure_breath.py", argv, ROOT)}
    listed = [asdict(row) for row in rows.get("fingers", [])]
    write_result(args.out, result | {"figures": figures, "fingers": listed})
    for name, own in figures.items():
        print(
            f"{name}: {own['answered']} of {own['count']} answered, MAE {own['mae']:.2f}, "
            f"within 2 {own['within']:.2f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
