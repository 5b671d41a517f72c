"""Makes a contact sheet of a clip: one picture that can be dropped into the widget.

96 frames of 8 s, row by row, each the mean of its share of the time. --check measures how far the
rates read from such sheets, as PNG and as JPEG, lie from those of the same seconds of the clips.
"""

import argparse
import json
import sys
from pathlib import Path

from tqdm import tqdm

from pulse_plantain.contact_sheet import make_contact_sheet
from pulse_plantain.files import write_files
from pulse_plantain.video import ClipError

ROOT = Path(__file__).resolve().parents[1]


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("clip", nargs="?", help="video, animation or folder of pictures")
    parser.add_argument("sheet", nargs="?", type=Path, help="PNG to write")
    parser.add_argument("--start", type=float, default=0.0, help="s, default 0")
    parser.add_argument("--check", type=Path, metavar="DIR", help="of clips of synthesize.py")
    parser.add_argument("--count", type=int, default=50, help="clips of --check")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "contact-sheet.json")
    return parser.parse_args(argv)


def check(folder: Path, count: int, out: Path) -> None:
    """Write and print how rates of contact sheets differ from those of their clips."""
    from pulse_plantain.lab.contact_sheets import compare_recording, sum_up
    from pulse_plantain.lab.evaluation import open_rendered_clips
    from pulse_plantain.lab.running import write_result
    from pulse_plantain.lab.training import describe_run
    from pulse_plantain.loading import load_pipeline

    pipe = load_pipeline(ROOT / "tiny", ROOT / "tiny" / "adapter")
    recordings = open_rendered_clips(folder)[:count]
    rows = [compare_recording(recording, pipe) for recording in tqdm(recordings, unit="clip")]
    figures = sum_up(rows)
    command = f"contact_sheet.py --check {folder.name} --count {count}"
    result = describe_run(seed=0) | {"command": command, "figures": figures, "rows": rows}
    write_result(out, result)
    print(json.dumps(figures, indent=1))


def main(argv: list[str] | None = None) -> int:
    """Make a sheet or check sheets; 2 where that cannot be done, with one line that says why."""
    args = parse(argv)
    try:
        if args.check:
            check(args.check, args.count, args.out)
        elif not (args.clip and args.sheet):
            raise ClipError("name a clip and the PNG to write")
        else:
            image = make_contact_sheet(args.clip, args.start)
            write_files({args.sheet: lambda part: image.save(part, "PNG")})
    except (ValueError, OSError) as error:
        print(f"contact_sheet: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
