"""Writes the figures of README.md and docs/ from results/, and the card's picture of how far the
confidence is a probability; --check fails where they differ.
"""

import argparse
import json
import sys
from pathlib import Path

from PIL import Image

from pulse_plantain.files import write_files, write_text
from pulse_plantain.lab.card import list_stale_pages
from pulse_plantain.lab.figures import draw_reliability

ROOT = Path(__file__).resolve().parents[1]

PICTURE = ROOT / "assets" / "reliability.png"


def write_picture(path: Path, source: Path, check: bool) -> bool:
    """Draw the card's picture where it is missing or of other figures; whether it was so.

    Args:
        path: of the picture, which names the commit and the error that it shows.
        source: result of evaluate.py.
        check: True to draw nothing.
    """
    result = json.loads(source.read_text(encoding="utf-8"))
    reliability = result["figures"]["pulse"]["reliability"]
    shows = f"{source.name}, commit {result['commit']}: {reliability['calibration_error']:.6f}"
    if path.exists():
        with Image.open(path) as image:
            if image.info.get("Source") == shows:
                return False
    if not check:
        figure, about = draw_reliability(reliability), {"Source": shows}
        write_files({path: lambda part: figure.savefig(part, format="png", dpi=90, metadata=about)})
    return True


def main(argv: list[str] | None = None) -> int:
    """Run the command; 1 where --check finds a difference, 2 where results cannot be taken."""
    parser = argparse.ArgumentParser(description=str(__doc__).replace("\n", " "))
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
    drawn = write_picture(PICTURE, ROOT / "results" / "synthetic-camera-test.json", args.check)
    if args.check and drawn:
        print(f"{PICTURE.relative_to(ROOT)} and results/ differ; run scripts/model_card.py")
    return int(args.check and (bool(changed) or drawn))


if __name__ == "__main__":
    sys.exit(main())
