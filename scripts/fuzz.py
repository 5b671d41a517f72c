"""Damages clips of many kinds in many ways, and counts what the reader of clips makes of them.

No model is run. Each file is read in a process with a limit of time and of memory. What is known
is kept in out/fuzz.jsonl: the same command goes on where it stopped (delete that file after a
change of the reader). Writes results/fuzz.json, and ends with 1 if anything failed that is no clear
refusal.
"""

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

import av
from tqdm import tqdm

from pulse_plantain.lab.fuzzing import FAILURES, MEMORY, OUTCOMES, SECONDS, read_all, sum_up
from pulse_plantain.lab.running import describe_command, write_result
from pulse_plantain.lab.training import describe_run

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--variants", type=int, default=4000, help="damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, default=ROOT / "out" / "fuzz.jsonl")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "fuzz.json")
    args = parser.parse_args(argv)
    if args.variants < 1 or args.seed < 0:
        parser.error("--variants must be at least 1 and --seed at least 0")
    return args


def main(argv: list[str] | None = None) -> int:
    """Read all variants, write and print the table."""
    argv = sys.argv[1:] if argv is None else argv
    args = parse(argv)
    rows = list(
        tqdm(
            read_all(range(args.variants), args.seed, args.kept),
            total=args.variants,
            disable=not sys.stderr.isatty(),
        )
    )
    result = describe_run(args.seed)
    versions = {name: version(name) for name in ("av", "pillow")}
    result["versions"] |= versions | {"ffmpeg": av.ffmpeg_version_info}
    result["command"] = describe_command("fuzz.py", argv, ROOT)
    result |= {"variants": len(rows), "limits": {"seconds": SECONDS, "bytes": MEMORY}}
    table = sum_up(rows)
    write_result(args.out, result | {"meaning": OUTCOMES} | table)
    for outcome, number in table["outcomes"].items():
        print(f"{number:6d}  {outcome}: {OUTCOMES[outcome]}")
    print(f"written to {args.out}")
    return int(any(row.outcome in FAILURES for row in rows))


if __name__ == "__main__":
    sys.exit(main())
