"""Writes what the Hub loads from this repository's root; with --space, the folder of a Space.

To be run after the miniature was trained or calibrated; a test compares the root with tiny/.
"""

import argparse
import sys
from pathlib import Path

from pulse_plantain.lab.publishing import write_root, write_space

ROOT = Path(__file__).resolve().parents[1]


def main(argv: list[str] | None = None) -> int:
    """Run the command; 2 where it cannot be done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", type=Path, metavar="DIR", help="a new folder for a Space")
    args = parser.parse_args(argv)
    try:
        write_space(ROOT, args.space) if args.space else write_root(ROOT)
    except OSError as error:
        print(f"publish.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
