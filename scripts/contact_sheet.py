"""Makes a contact sheet of a clip: one picture that can be dropped into the widget.

96 frames of 8 s, row by row, each the mean of its share of the time. --check measures how far the
rates read from such sheets, as PNG and as JPEG, lie from those of the same seconds of the clips.
"""

import argparse
import io
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

import numpy as np
from PIL import Image

from handler import GRID, SECONDS
from pulse_plantain.sheet import Layout, SheetGeometry
from pulse_plantain.video import (
    ClipError,
    frames_from_contact_sheet,
    read_frames,
)
from pulse_plantain.windows import encode_windows

TILE = 128
"""px; the longer side of a frame on the sheet."""


def contact_sheet(clip, start=0.0):
    """PIL image of GRID frames of SECONDS of a clip.

    A frame is the mean over its share of the time and the area of its pixels. Fractions of a grey
    level survive the eight bits as a dither: noise of half a level, the same for every clip.

    Args:
        clip: as read_frames takes it.
        start: s; rounded to whole seconds.

    Raises:
        ClipError: if the clip cannot be read or has no whole SECONDS from ``start``.
    """
    rows, columns = GRID
    _, first = next(read_frames(clip))
    scale = TILE / max(first.shape[:2])
    height, width = (max(1, round(side * scale)) for side in first.shape[:2])
    geometry = SheetGeometry(width, rows * columns, height, size=(width * rows * columns, height))
    layout = Layout(geometry, (width, height))
    windows = encode_windows(clip, layout, window=SECONDS, stride=1.0)
    for window in windows:
        if window.start >= start and window.end - window.start > SECONDS - 0.1:
            break
    else:
        raise ClipError(f"{clip}: no {SECONDS:g} s from {start:g} s on")
    frames = window.appearance * (1 + window.motion)
    sheet = frames.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    sheet = 255 * sheet.reshape(rows * height, columns * width, 3)
    dither = np.random.default_rng(0).random(sheet.shape, np.float32)
    return Image.fromarray(np.floor(sheet + dither).clip(0, 255).astype(np.uint8))


def measured_again(image, pipe, jpeg=None):
    """PulseOutput of a contact sheet, JPEG-compressed before where a quality is given."""
    if jpeg:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=jpeg)
        image = Image.open(file).convert("RGB")
    frames = frames_from_contact_sheet(image, GRID)
    return pipe(frames, fps=len(frames) / SECONDS)


def measured(clip, pipe):
    """PulseOutput of the seconds of a clip that its contact sheet shows."""
    shown = [(time, picture) for time, picture in read_frames(clip) if time < SECONDS]
    times, pictures = zip(*shown)
    return pipe(list(pictures), timestamps=times)


def check(folder, count, out):
    """Writes results/contact-sheet.json: rates of clips, and of their sheets."""
    from tqdm import tqdm

    from pulse_plantain.lab.evaluation import strict, synthetic_recordings
    from pulse_plantain.lab.training import provenance
    from scripts.evaluate import load_pipeline

    pipe = load_pipeline(str(ROOT / "tiny"), str(ROOT / "tiny" / "adapter"))
    rows = []
    for recording in tqdm(synthetic_recordings(folder)[:count], unit="clip"):
        image = contact_sheet(recording.path)
        outputs = {
            "clip": measured(recording.path, pipe),
            "png": measured_again(image, pipe),
            "jpeg 90": measured_again(image, pipe, 90),
        }
        row = {"recording": recording.name, "reference": float(recording.bpm)}
        rows.append(row | {k: [float(o.bpm), float(o.confidence)] for k, o in outputs.items()})
    figures = {}
    for kind in ("png", "jpeg 90"):
        both = [r for r in rows if np.isfinite(r["clip"][0]) and np.isfinite(r[kind][0])]
        off = np.array([abs(r[kind][0] - r["clip"][0]) for r in both])
        figures[kind] = {
            "clips": len(rows),
            "clips_answered": sum(bool(np.isfinite(r["clip"][0])) for r in rows),
            "both_answered": len(both),
            "within_2_bpm_of_the_clip": float((off <= 2).mean()) if both else None,
            "mae_bpm_to_the_clip": float(off.mean()) if both else None,
        }
    command = f"contact_sheet.py --check {Path(folder).name} --count {count}"
    result = provenance(seed=0) | {"command": command, "figures": figures, "rows": rows}
    out.write_text(json.dumps(strict(result), indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", nargs="?", help="video, animation or folder of pictures")
    parser.add_argument("sheet", nargs="?", type=Path, help="PNG to write")
    parser.add_argument("--start", type=float, default=0.0, help="s, default 0")
    parser.add_argument("--check", type=Path, metavar="DIR", help="of clips of synthesize.py")
    parser.add_argument("--count", type=int, default=50, help="clips of --check")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "contact-sheet.json")
    args = parser.parse_args(argv)
    try:
        if args.check:
            check(args.check, args.count, args.out)
        elif not (args.clip and args.sheet):
            raise ClipError("name a clip and the PNG to write")
        else:
            image = contact_sheet(args.clip, args.start)
            image.save(args.sheet, "PNG")
    except (ValueError, OSError) as error:
        print(f"contact_sheet: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
