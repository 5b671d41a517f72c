"""Writes the figures of README.md and docs/ from results/; --check fails where they differ."""

import argparse
import sys
from pathlib import Path

from pulse_plantain.files import write_text
from pulse_plantain.lab.card import list_stale_pages

ROOT = Path(__file__).resolve().parents[1]


def main(argv: list[str] | None = None) -> int:
    """Run the command; 1 where --check finds a difference, 2 where results cannot be taken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if it would")
    args = parser.parse_args(argv)
    try:
        changed = list_stale_pages(ROOT)
    except ValueError as error:
        print(f"model_card.py: {error}", file=sys.stderr)
        return 2
    for path, text in changed.items():
        if args.check:
            print(f"{path.relative_to(ROOT)} and results/ differ; run scripts/model_card.py")
        else:
            write_text(path, text)
    return int(args.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
