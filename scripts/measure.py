"""Measures the heart rate in a clip and, if asked, writes it down, draws it and films it.

The main job. Nothing is written unless everything succeeded.
"""

import argparse
import json
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

DEMO = ROOT / "assets" / "demo.mp4"
TINY = ROOT / "tiny"
PROMPT_FILE = "prompt_embeds.safetensors"
SHEET_KEY = "pulse_windows"
"""PNG text of a --sheet file: JSON list of the windows' [start, end] in s, one sheet each."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"measure: {message}\n")


def arguments(argv):
    parser = Parser(prog="measure", description=__doc__.splitlines()[0])
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
    if args.model is None:
        args.model, args.adapter = str(TINY), args.adapter or str(TINY / "adapter")
    return args


def load_pipeline(args):
    """The pipeline with its adapter; its text encoder only where the prompt is not saved."""
    import torch
    import transformers
    from diffusers.utils import logging

    from pipeline_pulse import GPU_DTYPES, PulsePipeline

    logging.set_verbosity_error()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    saved = Path(args.adapter or args.model) / PROMPT_FILE
    without = {"text_encoder": None, "tokenizer": None} if saved.is_file() else {}
    dtypes = torch.float32 if device == "cpu" else GPU_DTYPES
    logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    pipe = PulsePipeline.from_pretrained(args.model, dtype=dtypes, **without)
    if args.adapter:
        pipe.load_lora_weights(args.adapter, weight_name="adapter_model.safetensors")
    pipe.set_progress_bar_config(disable=not sys.stderr.isatty(), leave=False)
    return pipe.to(device), saved if without else None


def measure(clip, args):
    """PulseOutput of a clip; what is no clip is refused before the model is loaded."""
    import torch

    from clip_encoder import read_frames

    next(read_frames(clip, args.fps))
    pipe, prompt_embeds = load_pipeline(args)
    noise = args.seed is not None or args.ensemble > 1
    return pipe(
        clip,
        fps=args.fps,
        window=args.window,
        stride=args.stride,
        crop=args.crop,
        num_inference_steps=args.steps,
        ensemble_size=args.ensemble,
        generator=torch.Generator().manual_seed(args.seed or 0) if noise else None,
        prompt_embeds=prompt_embeds,
        output_sheet=True,
    )


def decode(path, args):
    """PulseOutput of a --sheet file; one made elsewhere holds sheets ``stride`` apart."""
    import numpy as np
    import torch
    from PIL import Image

    from clip_encoder import ClipError, ClipWindow

    try:
        with Image.open(path) as image:
            spans = json.loads(image.info.get(SHEET_KEY, "null"))
            pixels = np.asarray(image.convert("RGB")) / np.float32(255)
    except (OSError, SyntaxError) as error:
        raise ClipError(f"{path}: no picture that can be read") from error
    pipe, _ = load_pipeline(args)
    geometry = pipe.geometry
    width, height = geometry.size
    count = len(pixels) // height
    if spans is None:
        window = args.window or pipe.config.default_windows[0]
        starts = np.arange(count) * (args.stride or window / 2)
        spans = [[start, start + window] for start in starts]
    if pixels.shape[1] != width or len(pixels) != height * len(spans) or not spans:
        raise ClipError(
            f"{path}: the sheets of this adapter are {width} x {height} pixels, "
            f"the picture is {pixels.shape[1]} x {len(pixels)}"
        )
    windows = [
        ClipWindow(
            start=start,
            end=end,
            times=start + (np.arange(geometry.samples) + 0.5) * (end - start) / geometry.samples,
            motion=np.zeros((*geometry.field_shape, 3), np.float32),
            appearance=np.zeros((1, 1, 3), np.float32),
            frames=geometry.samples,
            longest_gap=(end - start) / geometry.samples,
            crop=(0, 0, width, height),
            picture_size=geometry.size,
        )
        for start, end in spans
    ]
    images = torch.from_numpy(pixels.reshape(-1, height, width, 3)).movedim(-1, 1) * 2 - 1
    return pipe.make_output(pipe.read_sheets(windows, [images], True), "np", False)


def save_sheet(path, output):
    """Write the pulse sheets of all windows, one below the other, with their times."""
    import numpy as np
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text(SHEET_KEY, json.dumps([[w.start, w.end] for w in output.windows]))
    stacked = np.concatenate(list(output.sheet))
    Image.fromarray(np.uint8(stacked * 255 + 0.5)).save(path, format="PNG", pnginfo=text)


def clip_json(output):
    """The --json file's contents; NaN is null."""

    def strict(number):
        return float(number) if number == number else None

    return {
        "bpm": strict(output.bpm),
        "confidence": strict(output.confidence),
        "reason": output.reason,
        "sampling_rate": strict(output.sampling_rate),
        "bvp": [strict(value) for value in output.bvp],
        "times": [strict(value) for value in output.times],
        "windows": [
            {key: strict(getattr(w, key)) for key in ("start", "end", "bpm", "confidence")}
            for w in output.windows
        ],
    }


def plot(path, output, clip, fps, title):
    from clip_encoder import pictures_at
    from rppg.plots import beat_moments, result_figure

    pictures = pictures_at(clip, beat_moments(output), fps) if clip else []
    result_figure(output, pictures, title).savefig(path, format="png")


def film(path, output, clip, fps, animated):
    from clip_encoder import write_overlay_video
    from rppg.plots import save_overlay_gif

    write = save_overlay_gif if animated else write_overlay_video
    write(path, clip, output.windows, output.field, fps=fps)


CAMERAS = {
    "linux": ("v4l2", "/dev/video0"),
    "darwin": ("avfoundation", "0"),
    "win32": ("dshow", ""),
}
"""FFmpeg's name for cameras on each system, and its first one."""


def watch(args):
    """Prints a line a second of a camera or a stream, until it ends or is interrupted."""
    import time
    from collections import deque

    import av

    from clip_encoder import ClipError

    form, source = None, args.stream
    if args.webcam is not None:
        form, first = CAMERAS.get(sys.platform, (None, ""))
        source = args.webcam or first
    pipe, prompt_embeds = load_pipeline(args)
    stamps, arrived = deque(), {}

    def pictures(container):
        for frame in container.decode(video=0):
            stamps.append(float(frame.pts * frame.time_base))
            arrived["last"] = time.monotonic()
            yield frame.to_ndarray(format="rgb24")

    # The clock is asked for a stamp after each picture, so the two keep pace.
    def clock():
        while stamps:
            yield stamps.popleft()

    try:
        container = av.open(sys.stdin.buffer if source == "-" else source, format=form)
        if not container.streams.video:
            raise ClipError(f"{source}: no pictures in the stream")
    except (av.error.FFmpegError, OSError) as error:
        raise ClipError(f"{source}: no camera or stream that can be opened ({error})") from error
    print("   until s      bpm  confidence  s after its last picture")
    readings = pipe.watch(
        pictures(container),
        timestamps=clock(),
        window=args.window,
        stride=args.stride or 1.0,
        crop=args.crop,
        prompt_embeds=prompt_embeds,
    )
    with container:
        for output in readings:
            rate = f"{output.bpm:.1f}" if output.bpm == output.bpm else "-"
            end, late = output.windows[0].end, time.monotonic() - arrived["last"]
            print(f"{end:10.1f}  {rate:>7}        {output.confidence:.2f}  {late:.1f}", flush=True)


def write_all(writers):
    """Write every file under another name first, and rename them once all are there.

    Args:
        writers: dict of path -> function that writes to the path it is given.
    """
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in writers}
    try:
        for path, write in writers.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(parts[path])
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def report(output):
    """What is printed."""
    if output.bpm == output.bpm:
        spread = output.bpm_uncertainty
        lines = [f"heart rate  {output.bpm:.1f} bpm" + (f" ± {spread:.1f}" * (spread == spread))]
    else:
        lines = [f"no pulse found: {output.reason.removeprefix('no pulse found: ')}"]
    lines += [f"confidence  {output.confidence:.2f}", "", "window (s)        bpm  confidence"]
    for w in output.windows:
        rate = f"{w.bpm:.1f}" if w.bpm == w.bpm else "-"
        lines.append(f"{w.start:5.1f} - {w.end:5.1f}  {rate:>7}        {w.confidence:.2f}")
    return "\n".join(lines)


def main(argv=None):
    args = arguments(argv)
    clip = None if args.decode else args.clip or str(DEMO)
    title = Path(clip or args.decode).name
    live = args.webcam is not None or args.stream
    if not (args.clip or args.decode or live):
        print(f"the bundled clip {DEMO.relative_to(ROOT)}")
    try:
        if live:
            watch(args)
            return 0
        if args.decode:
            output = decode(args.decode, args)
        else:
            output = measure(clip, args)
        writers = {
            args.json: lambda path: path.write_text(
                json.dumps(clip_json(output), allow_nan=False) + "\n"
            ),
            args.plot: lambda path: plot(path, output, clip, args.fps, title),
            args.video: lambda path: film(
                path, output, clip, args.fps, args.video.suffix == ".gif"
            ),
            args.sheet: lambda path: save_sheet(path, output),
        }
        write_all({path: write for path, write in writers.items() if path})
    except (ValueError, OSError) as error:
        print(f"measure: {str(error).strip().splitlines()[0]}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0 if live else 130
    print(report(output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
