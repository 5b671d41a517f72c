"""The command line: its commands, their arguments, and the files that one clip's figures go to.

Measures the heart rate in clips. Nothing is written unless everything succeeded; many clips are
another room's matter (batch.py), and so are cameras (live.py).
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from .settings import Settings

if TYPE_CHECKING:  # torch and diffusers take seconds: bad arguments are refused before
    from .output import PulseOutput

PROGRAM = "pulse-plantain"

HELP = f"""usage: {PROGRAM} [COMMAND] ...

  measure  the heart rate in clips: printed, as a table, as figures and films
  watch    a camera or a stream: a rate every second
  sheet    draw the pulse sheets of a clip
  decode   read pulse sheets back

Without a command, measure is meant: {PROGRAM} clip.mp4. With nothing at all, the bundled clip is
measured. {PROGRAM} COMMAND --help names a command's arguments.
"""


class Parser(argparse.ArgumentParser):
    """Refuses in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{PROGRAM}: {message}\n")


# ----------------------------------------------------------------------------------- the arguments


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line's values, those that contradict each other refused."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("-h", "--help"):
        print(HELP, end="")
        raise SystemExit(0)
    command = words.pop(0) if words and words[0] in COMMANDS else "measure"
    parser = Parser(prog=f"{PROGRAM} {command}", description=COMMANDS[command].__doc__)
    FILLERS[command](parser)
    args = parser.parse_intermixed_args(words)
    args.command = command
    if command == "measure":
        check_measure(parser, args)
    check_outputs(parser, args)
    return args


def add_model(
    parser: Parser,
    window: str = "the adapter's lengths, whichever is surest",
    stride: str = "half a window",
) -> None:
    """Arguments of every command: which model, and its windows with what they are by default."""
    parser.add_argument("--model", help="pipeline folder or Hub id (default: the miniature)")
    parser.add_argument("--adapter", help="adapter folder or Hub id (default: the miniature's)")
    parser.add_argument("--device", help="default: CUDA where there is one, else the CPU")
    parser.add_argument("--window", type=float, metavar="S", help=f"5 to 10 (default: {window})")
    parser.add_argument("--stride", type=float, metavar="S", help=f"default: {stride}")


def add_clock(parser: Parser) -> None:
    """Arguments of what is read from pictures."""
    parser.add_argument("--fps", type=float, help="pictures a second, in place of time stamps")
    parser.add_argument(
        "--crop", nargs=4, type=float, metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"), help="in pixels"
    )


def add_drawing(parser: Parser) -> None:
    """Arguments of how the sheets are drawn."""
    parser.add_argument("--steps", type=int, help="steps of the flow (default: 1)")
    parser.add_argument("--ensemble", type=int, default=1, metavar="N", help="drawings to average")
    parser.add_argument("--seed", type=int, help="add this noise to the start of the flow")


def add_figures(parser: Parser) -> None:
    """Arguments of the files that one measurement can be written to."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="figures and trace")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="faces, sheet, trace")


def fill_measure(parser: Parser) -> None:
    """Arguments of ``measure``."""
    parser.add_argument(
        "clips", nargs="*", metavar="clip",
        help="video, animation, folder of numbered pictures, or folder of such clips",
    )  # fmt: skip
    many = parser.add_argument_group("many clips")
    many.add_argument(
        "--out", type=Path, metavar="TABLE", help=".csv, .jsonl or .parquet: a row a clip"
    )
    many.add_argument("--windows", action="store_true", help="a row a window in place of a clip")
    many.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")
    one = parser.add_argument_group("one clip")
    add_figures(one)  # pyright: ignore[reportArgumentType]
    one.add_argument(
        "--video", type=Path, metavar="FILE.mp4", help="colours over the face; or FILE.gif"
    )
    one.add_argument("--sheet", type=Path, metavar="FILE.png", help="the pulse sheets drawn")
    # The names of the other commands before they were commands.
    parser.add_argument("--decode", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--webcam", nargs="?", const="", help=argparse.SUPPRESS)
    parser.add_argument("--stream", help=argparse.SUPPRESS)
    add_model(parser)
    add_clock(parser)
    add_drawing(parser)


def fill_watch(parser: Parser) -> None:
    """Arguments of ``watch``."""
    parser.add_argument(
        "stream", nargs="?", help="stream that FFmpeg knows; - is a pipe (default: a camera)"
    )
    parser.add_argument("--camera", default="", metavar="DEVICE", help="default: the first one")
    add_model(parser, stride="1")
    add_clock(parser)


def fill_sheet(parser: Parser) -> None:
    """Arguments of ``sheet``."""
    parser.add_argument("clip", help="video, animation or folder of numbered pictures")
    parser.add_argument("sheet", type=Path, metavar="SHEET.png", help="picture to write")
    add_model(parser)
    add_clock(parser)
    add_drawing(parser)


def fill_decode(parser: Parser) -> None:
    """Arguments of ``decode``."""
    parser.add_argument("decode", type=Path, metavar="SHEET.png", help="pulse sheets to read")
    add_figures(parser)
    times = "the times that the picture brings, else"
    add_model(parser, f"{times} the adapter's first length", f"{times} half a window")


def check_measure(parser: Parser, args: argparse.Namespace) -> None:
    """Refuse arguments of ``measure`` that contradict each other; older names become commands."""
    files = [args.json, args.plot, args.video, args.sheet, args.out]
    if args.decode:
        if args.clips or args.video or args.out:
            parser.error("--decode reads a sheet: it takes no clip and makes no video")
        args.command = "decode"
    if args.webcam is not None or args.stream is not None:
        if args.clips or args.decode or any(files):
            parser.error("--webcam and --stream only print: they take no clip and write no file")
        args.command, args.camera = "watch", args.webcam or ""
    if args.out and any(files[:-1]):
        parser.error("--out is for tables; --json, --plot, --video and --sheet are of one clip")
    if args.windows and not args.out:
        parser.error("--windows is about the rows of a table: name one with --out")
    if args.workers < 1:
        parser.error(f"--workers must be a positive number, got {args.workers}")


def check_outputs(parser: Parser, args: argparse.Namespace) -> None:
    """Refuse outputs that would overwrite each other or an input."""
    known = vars(args)
    names = ("json", "plot", "video", "sheet", "out")
    outputs = [path for path in (known.get(name) for name in names) if path]
    if len({path.resolve() for path in outputs}) < len(outputs):
        parser.error("two outputs have the same name")
    inputs = [*known.get("clips", []), known.get("clip"), known.get("decode")]
    sources = {Path(source).resolve() for source in inputs if source}
    for path in outputs:
        if path.is_dir() or path.resolve() in sources:
            parser.error(f"{path} is a folder or the input, not a name for an output")


# --------------------------------------------------------------------------------------- one clip


def plot(path: Path, output: PulseOutput, clip: str | None, fps: float | None, title: str) -> None:
    """Write the page of figures."""
    from .plots import list_beat_moments, plot_result
    from .video import Clock, pictures_at

    pictures = pictures_at(clip, list_beat_moments(output), Clock(fps)) if clip else []
    plot_result(output, pictures, title).savefig(path, format="png")


def film(path: Path, output: PulseOutput, clip: str, fps: float | None, suffix: str) -> None:
    """Write the clip with the pulse's colours over it."""
    import numpy as np

    from .overlay import write_overlay_gif, write_overlay_video
    from .video import Clock

    write = write_overlay_gif if suffix == ".gif" else write_overlay_video
    write(path, clip, output.windows, np.asarray(output.field), Clock(fps))


def write_results(
    args: argparse.Namespace, output: PulseOutput, clip: str | None, title: str
) -> None:
    """Write the files that the arguments name, all of them or none."""
    from .files import write_files

    known = vars(args)
    fps = known.get("fps")
    writers: dict[str, Callable[[Path], object]] = {
        "json": lambda path: path.write_text(json.dumps(output.to_dict(), allow_nan=False) + "\n"),
        "plot": lambda path: plot(path, output, clip, fps, title),
        "video": lambda path: film(path, output, clip or "", fps, args.video.suffix),
        "sheet": output.save_sheet,
    }
    write_files({known[name]: write for name, write in writers.items() if known.get(name)})


def measure_one(clip: str, args: argparse.Namespace) -> int:
    """Measure a clip, write what is asked for and print what was found."""
    settings = Settings.from_arguments(args)
    settings.check()
    settings.check_clip(clip)
    output = settings.measure(settings.load(), clip)
    write_results(args, output, clip, Path(clip).name)
    print(output.to_text())
    return 0


# ------------------------------------------------------------------------------------ the commands


def measure(args: argparse.Namespace) -> int:
    """Measure the heart rate in clips."""
    from .batch import find_clips

    if not args.clips:
        args.clips = [name_bundled_clip()]
    clips = find_clips(args.clips)
    if len(clips) == 1 and not args.out:
        return measure_one(clips[0], args)
    if args.json or args.plot or args.video or args.sheet:
        raise ValueError(
            f"--json, --plot, --video and --sheet are of one clip, here are {len(clips)}: name a "
            "table with --out"
        )
    return measure_many(clips, args)


def measure_many(clips: list[str], args: argparse.Namespace) -> int:
    """Measure clips into a table, or print a line for each; 1 where one of them failed."""
    from tqdm import tqdm

    from .batch import Asked, measure_clips
    from .tables import Row, Table

    asked = Asked(Settings.from_arguments(args), args.windows)
    asked.settings.check()
    table = Table(args.out, asked.columns) if args.out else None
    known = {row["clip"] for row in table.rows} if table else set()
    bar = tqdm(total=len(clips), initial=len(known & {*clips}), unit="clip", disable=None)

    def report(rows: list[Row]) -> None:
        row = rows[0]
        if row["status"] == "failed":
            tqdm.write(f"{PROGRAM}: {row['clip']}: {row['reason']}", file=sys.stderr)
        elif not table:
            note = f"  ({row['note']})" if row["note"] else ""
            tqdm.write(f"{describe_rate(row)}  {row['clip']}{note}", file=sys.stdout)
        bar.update()

    with bar:
        tally = measure_clips(clips, asked, args.workers, table, report)
    print(f"{tally.to_text()}{f'; {args.out}' if table else ''}")
    return 1 if tally.failed else 0


def describe_rate(row: dict) -> str:
    """Rate and confidence of a clip's row in columns, a dash where there is no rate."""
    rate = "-" if row["bpm"] is None else f"{row['bpm']:.1f} ± {row['bpm_uncertainty']:.1f}"
    return f"{rate:>12} bpm  confidence {row['confidence']:.2f}"


def watch(args: argparse.Namespace) -> int:
    """Watch a camera or a stream, a rate every second."""
    from .live import Source, watch

    if args.stream == "":
        raise ValueError("the stream's name is empty")
    try:
        watch(Source(args.stream, args.camera), Settings.from_arguments(args))
    except KeyboardInterrupt:  # how one stops watching
        pass
    return 0


def sheet(args: argparse.Namespace) -> int:
    """Draw the pulse sheets of a clip."""
    return measure_one(args.clip, args)


def decode(args: argparse.Namespace) -> int:
    """Read pulse sheets back; those made elsewhere are --stride apart."""
    from .output import read_sheet
    from .video import ClipError

    settings = Settings.from_arguments(args)
    settings.check()
    image, spans = read_sheet(args.decode)
    try:
        output = settings.load().decode_sheet(image, spans, settings.window, settings.stride)
    except ClipError as error:
        raise ClipError(f"{args.decode}: {error}") from error
    write_results(args, output, None, args.decode.name)
    print(output.to_text())
    return 0


COMMANDS = {"measure": measure, "watch": watch, "sheet": sheet, "decode": decode}
"""What can be done."""

FILLERS = {"measure": fill_measure, "watch": fill_watch, "sheet": fill_sheet, "decode": fill_decode}
"""What gives each command's parser its arguments."""


def let_threads_sleep() -> None:
    """Have threads that wait for each other sleep, unless the user says otherwise.

    The sheets are small, so OpenMP's threads wait often, and would burn the processor's time by
    spinning; OpenBLAS's spin as well, and NumPy's products here are too small to gain from them. It
    must be said before NumPy and torch are imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 where it measured, 1 where some of many clips failed, 2 for bad input."""
    args = parse_arguments(argv)
    let_threads_sleep()
    gc.disable()  # until all modules are loaded, see Settings.load
    try:
        return COMMANDS[args.command](args)
    except (ValueError, OSError) as error:
        print(f"{PROGRAM}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if vars(args).get("out"):
            print(f"{PROGRAM}: interrupted; the same command goes on", file=sys.stderr)
        return 130
    finally:
        gc.enable()


def name_bundled_clip() -> str:
    """The clip that is measured where none is named; says so."""
    from .loading import DEMO

    print(f"the bundled clip {'/'.join(DEMO.parts[-2:])}")
    return str(DEMO)


if __name__ == "__main__":
    sys.exit(main())
