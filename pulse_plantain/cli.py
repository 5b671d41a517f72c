"""Measures the heart rate in a clip and, if asked, writes it down, draws it and films it.

The main job. Nothing is written unless everything succeeded.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:  # torch and diffusers take seconds: bad arguments are refused before
    from .output import PulseOutput
    from .pipeline import PulsePipeline

PROGRAM = "pulse-plantain"


class Parser(argparse.ArgumentParser):
    """Refuses in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line's values, those that contradict each other refused."""
    parser = Parser(prog=PROGRAM, description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", nargs="?", help="video, animation or folder of numbered pictures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="figures and trace")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="faces, sheet, trace")
    parser.add_argument(
        "--video", type=Path, metavar="FILE.mp4", help="colours over the face; or FILE.gif"
    )
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="the pulse sheets drawn")
    parser.add_argument("--decode", type=Path, metavar="SHEET.png", help="read a sheet back")
    parser.add_argument(
        "--webcam",
        nargs="?",
        const="",
        metavar="DEVICE",
        help="watch a camera, a rate every second",
    )
    parser.add_argument(
        "--stream", metavar="FILE", help="the same from a stream that FFmpeg knows; - is a pipe"
    )
    parser.add_argument("--model", help="pipeline folder or Hub id (default: the miniature)")
    parser.add_argument("--adapter", help="adapter folder or Hub id (default: the miniature's)")
    parser.add_argument("--device", help="default: the accelerator where there is one")
    parser.add_argument("--fps", type=float, help="pictures a second of a clip without stamps")
    parser.add_argument(
        "--window",
        type=float,
        metavar="S",
        help="5 to 10 (default: the adapter's lengths, whichever is surest)",
    )
    parser.add_argument("--stride", type=float, metavar="S", help="default: half a window")
    parser.add_argument(
        "--crop", nargs=4, type=float, metavar=("LEFT", "TOP", "RIGHT", "BOTTOM"), help="in pixels"
    )
    parser.add_argument("--steps", type=int, help="steps of the flow (default: 1)")
    parser.add_argument("--ensemble", type=int, default=1, metavar="N", help="drawings to average")
    parser.add_argument("--seed", type=int, help="add this noise to the start of the flow")
    args = parser.parse_args(argv)
    if args.decode and (args.clip or args.video):
        parser.error("--decode reads a sheet: it takes no clip and makes no video")
    if args.webcam is not None or args.stream:
        if args.clip or args.decode or args.json or args.plot or args.video or args.sheet:
            parser.error("--webcam and --stream only print: they take no clip and write no file")
    outputs = [path for path in (args.json, args.plot, args.video, args.sheet) if path]
    if len({path.resolve() for path in outputs}) < len(outputs):
        parser.error("two outputs have the same name")
    sources = [Path(source).resolve() for source in (args.clip, args.decode) if source]
    for path in outputs:
        if path.is_dir() or path.resolve() in sources:
            parser.error(f"{path} is a folder or the input, not a name for an output")
    return args


def load(args: argparse.Namespace) -> PulsePipeline:
    """The pipeline that the arguments name, with a progress bar on a terminal."""
    import transformers
    from diffusers.utils import logging

    from .loading import load_pipeline

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    pipe = load_pipeline(args.model, args.adapter, args.device)
    pipe.set_progress_bar_config(disable=not sys.stderr.isatty(), leave=False)
    return pipe


def measure(clip: str, args: argparse.Namespace) -> PulseOutput:
    """Measure a clip; what is no clip is refused before the model is loaded."""
    import torch

    from .video import Clock, read_frames

    next(read_frames(clip, Clock(args.fps)))
    noise = args.seed is not None or args.ensemble > 1
    output = load(args)(
        clip,
        fps=args.fps,
        window=args.window,
        stride=args.stride,
        crop=args.crop,
        num_inference_steps=args.steps,
        ensemble_size=args.ensemble,
        generator=torch.Generator().manual_seed(args.seed or 0) if noise else None,
        output_sheet=True,
    )
    assert not isinstance(output, tuple)
    return output


def decode(path: Path, args: argparse.Namespace) -> PulseOutput:
    """Read a --sheet file back; one made elsewhere holds sheets ``stride`` apart."""
    from .output import read_sheet
    from .video import ClipError

    image, spans = read_sheet(path)
    try:
        return load(args).decode_sheet(image, spans, args.window, args.stride)
    except ClipError as error:
        raise ClipError(f"{path}: {error}") from error


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


CAMERAS = {
    "linux": ("v4l2", "/dev/video0"),
    "darwin": ("avfoundation", "0"),
    "win32": ("dshow", ""),
}
"""FFmpeg's name for cameras on each system, and its first one."""


class StreamClock:
    """The time stamps of a stream's pictures, each asked for after its picture, and the last's age.

    Args:
        container: PyAV container to decode.
    """

    def __init__(self, container: Any):
        self.container = container
        self.stamps: deque[float] = deque()
        self.arrived = time.monotonic()

    def pictures(self) -> Iterator[Any]:
        """The pictures [H, W, 3] uint8, as they come in."""
        from .video import ClipError, find_stamp

        for index, frame in enumerate(self.container.decode(video=0)):
            stamp = find_stamp(self.container, frame, index)
            if stamp is None:
                raise ClipError("the stream has no time stamps: send it in a container, as MPEG-TS")
            self.stamps.append(stamp)
            self.arrived = time.monotonic()
            yield frame.to_ndarray(format="rgb24")

    def times(self) -> Iterator[float]:
        """The time of each picture in s, for as long as there are pictures."""
        while self.stamps:
            yield self.stamps.popleft()


def open_stream(args: argparse.Namespace) -> Any:
    """PyAV container of the camera or stream that the arguments name.

    Raises:
        ClipError: if it cannot be opened or holds no pictures.
    """
    import av

    from .video import ClipError

    form, source = None, args.stream
    if args.webcam is not None:
        form, first = CAMERAS.get(sys.platform, (None, ""))
        source = args.webcam or first
    try:
        container = av.open(sys.stdin.buffer if source == "-" else source, format=form)
    except (av.FFmpegError, OSError) as error:
        raise ClipError(f"{source}: no camera or stream that can be opened ({error})") from error
    if not container.streams.video:
        raise ClipError(f"{source}: no pictures in the stream")
    return container


def watch(args: argparse.Namespace) -> None:
    """Print a line a second of a camera or a stream, until it ends or is interrupted."""
    pipe = load(args)
    with open_stream(args) as container:
        stream = StreamClock(container)
        print("   until s      bpm  confidence  s after its last picture")
        readings = pipe.watch(
            stream.pictures(),
            timestamps=stream.times(),
            window=args.window,
            stride=args.stride or 1.0,
            crop=args.crop,
        )
        for output in readings:
            rate = f"{output.bpm:.1f}" if output.found else "-"
            end, late = output.windows[0].end, time.monotonic() - stream.arrived
            print(f"{end:10.1f}  {rate:>7}        {output.confidence:.2f}  {late:.1f}", flush=True)


def write_results(
    args: argparse.Namespace, output: PulseOutput, clip: str | None, title: str
) -> None:
    """Write the files that the arguments name, all of them or none."""
    from .files import write_files

    text = json.dumps(output.to_dict(), allow_nan=False) + "\n"
    writers: dict[Path | None, Callable[[Path], object]] = {
        args.json: lambda path: path.write_text(text),
        args.plot: lambda path: plot(path, output, clip, args.fps, title),
        args.video: lambda path: film(path, output, clip or "", args.fps, args.video.suffix),
        args.sheet: output.save_sheet,
    }
    write_files({path: write for path, write in writers.items() if path})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 where it measured, 2 for bad input."""
    args = parse_arguments(argv)
    live = args.webcam is not None or args.stream
    try:
        if live:
            watch(args)
            return 0
        if args.decode:
            clip, title, output = None, args.decode.name, decode(args.decode, args)
        else:
            clip = name_bundled_clip() if args.clip is None else args.clip
            title, output = Path(clip).name, measure(clip, args)
        write_results(args, output, clip, title)
    except (ValueError, OSError) as error:
        print(f"{PROGRAM}: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0 if live else 130
    print(output.to_text())
    return 0


def name_bundled_clip() -> str:
    """The clip that is measured where none is named; says so."""
    from .loading import DEMO

    print(f"the bundled clip {'/'.join(DEMO.parts[-2:])}")
    return str(DEMO)


if __name__ == "__main__":
    sys.exit(main())
