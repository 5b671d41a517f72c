"""Reads simulated validation clips with methods that are told more than the model is.

Writes results/bounds.json: what part of the clips anyone could read.
"""

import argparse
import sys
from pathlib import Path

import torch

from pulse_plantain.lab.bounds import read_light, sum_up
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.training import describe_run

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--count", type=int, default=512, help="clips under each light")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, write and print; 2 where that cannot be done, with one line that says why."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    torch.set_num_threads(1)
    try:
        if args.count < 1:
            raise ValueError(f"--count must be at least 1, got {args.count}")
        rows = {light: read_light(light, args.count) for light in ("plain", "camera")}
        result = describe_run(seed=0) | {
            "command": describe_command("measure_bound.py", argv, ROOT),
            "lights": {light: sum_up(own) for light, own in rows.items()},
            "rows": rows,
        }
        write_result(args.out / "bounds.json", result)
    except (ValueError, OSError) as error:
        print(f"measure_bound.py: {error}", file=sys.stderr)
        return 2
    for light, figures in result["lights"].items():
        for name, own in figures.items():
            print(f"{light:7} {name:24} {own['within_3_bpm']:.1%} within 3 bpm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
