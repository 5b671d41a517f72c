"""Reads simulated validation clips by methods that are told more than the model is.

They are the clips that train_adapter.py validates on. Writes results/oracles.json.
"""

import argparse
import sys
from pathlib import Path

import torch

from pulse_plantain.lab.oracles import read_light, sum_up
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.synthetic import LIGHTS
from pulse_plantain.lab.training import describe_run

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--light", choices=LIGHTS[:2], default="camera", help="default: camera")
    parser.add_argument("--count", type=int, default=512, help="number of clips")
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
        rows = read_light(args.light, args.count)
        result = describe_run(seed=0) | {
            "command": describe_command("measure_oracles.py", argv, ROOT),
            "light": args.light,
            "figures": sum_up(rows),
            "rows": rows,
        }
        write_result(args.out / "oracles.json", result)
    except (ValueError, OSError) as error:
        print(f"measure_oracles.py: {error}", file=sys.stderr)
        return 2
    for name, own in result["figures"].items():
        print(f"{name:24} {own['within_3_bpm']:.1%} of {own['clips']} within 3 bpm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
