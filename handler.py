"""Inference Endpoints and the image-to-image widget: a picture or a base64 clip in, a pulse out.

Nothing is fetched and no path is opened on a caller's behalf: what is sent is all that is read.
"""

import base64
import binascii
import io
import json
import logging
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image

from pulse_plantain.calls import WITHOUT_EFFECT
from pulse_plantain.clock import quote
from pulse_plantain.contact_sheet import GRID, SECONDS, open_contact_sheet
from pulse_plantain.containers import open_container
from pulse_plantain.loading import load_served
from pulse_plantain.output import PulseOutput
from pulse_plantain.plots import list_beat_moments, plot_result
from pulse_plantain.saved_sheet import is_sheet
from pulse_plantain.sheet import SheetGeometry
from pulse_plantain.video import (
    OWN_CLOCK,
    ClipError,
    Clock,
    convert_picture,
    pictures_at,
    read_pictures,
)

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent

OUTPUTS = ("overlay", "sheet", "json")
"""Forms of an answer: the page of figures, the pulse sheets, or plain numbers."""

MOST_BYTES = 32 * 2**20
"""Largest picture or clip, in bytes before base64."""

MOST_PIXELS = 2**23
"""Largest frame of a clip: 4096 x 2048 pixels."""

MOST_SHEET_PIXELS = 2**26
"""Largest contact sheet, in pixels."""

MOST_SECONDS = 60.0
"""Longest clip."""

MOST_STEPS, MOST_ENSEMBLE = 50, 16

QUICKTIME = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
"""Names that the first box of an MP4 or a MOV may have, at offset 4; old MOVs lack the first."""

VIDEOS = (
    *((4, name, ".mp4") for name in QUICKTIME),
    (0, b"\x1a\x45\xdf\xa3", ".mkv"),
    (8, b"AVI ", ".avi"),
)
"""Offset, magic bytes and suffix of the containers that are taken. A playlist, which can name other
files, has none of these bytes."""

NAMES = ("video", "clip", "image")
"""Names of what is sent, in ``{"inputs": {"video": base64}}``. Newer toolkits make a picture of a
plain text before a handler sees it; a text under a name they leave alone."""

SAME = {"num_inference_steps": "steps"}
"""Names that clients have for parameters."""

PICTURES = ("PNG", "JPEG", "WEBP", "GIF")
"""Formats of pictures and animations that are taken."""

Allows = Callable[[Any], bool]
"""Says whether a parameter may have a value."""


@dataclass(frozen=True)
class Parameters:
    """What a caller may choose.

    Args:
        grid: rows and columns of a contact sheet.
        seconds: what a contact sheet covers.
        fps: pictures a second of a clip, in place of its own time stamps.
        window: seconds that are read at once; the adapter's own lengths where None.
        steps: steps of the flow; the adapter's own number where None.
        ensemble: number of drawings to average.
        seed: seed of the noise; a single drawing without a seed has no noise.
        crop: (left, top, right, bottom) in pixels; where None, the pulse is searched for.
        output: one of :data:`OUTPUTS`.
    """

    grid: tuple[int, int] = GRID
    seconds: float = SECONDS
    fps: float | None = None
    window: float | None = None
    steps: int | None = None
    ensemble: int = 1
    seed: int | None = None
    crop: tuple[float, float, float, float] | None = None
    output: str = OUTPUTS[0]

    def make_generator(self) -> torch.Generator | None:
        """The source of the noise, None for the one drawing that has none."""
        if self.seed is None and self.ensemble == 1:
            return None
        return torch.Generator().manual_seed(self.seed or 0)


@dataclass(frozen=True)
class Received:
    """What a caller sent, as the pipeline takes it.

    Args:
        kind: what it was taken for; also the title of the page that is sent back.
        clip: file of a clip, frames of a contact sheet, or the picture of a pulse sheet.
        clock: when the pictures of a clip or a contact sheet were taken.
    """

    kind: Literal["clip", "contact sheet", "pulse sheet"]
    clip: Path | list[Image.Image] | Image.Image
    clock: Clock = OWN_CLOCK


class EndpointHandler:
    """Serves the 4B adapter where it lies beside this file and there is a GPU, else ``tiny/``.

    Args:
        path: the repository's folder, as the toolkit gives it.
    """

    def __init__(self, path: str = ""):
        self.pipe = load_served(Path(path) if path else ROOT)

    def __call__(self, data: Any) -> Image.Image | dict[str, Any]:
        """Measure what was sent.

        Args:
            data: dict of

                - ``inputs``: PIL image, or base64 text of a picture, a GIF, WebP or APNG animation
                  or an MP4, MOV, MKV, WebM or AVI video, alone or as ``{"video": text}``. A still
                  picture is a pulse sheet if it has the size of one, or was saved with its
                  windows' times; else it is a contact sheet.
                - ``parameters`` (optional): ``grid`` ([rows, columns], default [8, 12]) and
                  ``seconds`` (8) of a contact sheet; ``fps`` of a clip, in place of its own time
                  stamps; ``window`` (s), ``steps``, ``ensemble``, ``seed``, ``crop`` ([left, top,
                  right, bottom] px); ``output``: "overlay" (default), "sheet" or "json". Those of
                  image-to-image clients that mean nothing here are left out.

        Returns:
            PIL image, or the dict that ``measure.py --json`` writes.

        Raises:
            ValueError: one line that says what was wrong; the toolkit answers it with status 400.
        """
        try:
            return self._answer(data)
        except ValueError as error:
            raise ValueError(str(error).strip().splitlines()[0]) from None
        except Exception:  # what broke inside is no caller's business, but the keeper's
            logger.exception("a request could not be answered")
            raise ValueError("the input could not be measured") from None

    def _answer(self, data: Any) -> Image.Image | dict[str, Any]:
        """What is sent back; errors still tell all that they know."""
        if not isinstance(data, dict) or data.get("inputs") is None:
            raise ValueError('send {"inputs": picture or base64 of a clip, "parameters": {...}}')
        parameters = check_parameters(data.get("parameters") or {})
        geometry = self.pipe.layout.geometry
        with tempfile.TemporaryDirectory() as folder:
            try:
                received = receive(take_named(data["inputs"]), parameters, Path(folder), geometry)
                pulse = self._measure(received, parameters)
            except ValueError as error:
                raise ValueError(hide_paths(str(error), folder)) from error
            if parameters.output == "json":
                return pulse.to_dict()
            if parameters.output == "sheet":
                return pulse.sheet_image()
            return draw_page(pulse, received)

    def _measure(self, received: Received, parameters: Parameters) -> PulseOutput:
        """Draw the pulse of a clip or a contact sheet, or read a pulse sheet as it is."""
        if isinstance(received.clip, Image.Image):
            return self.pipe.decode_sheet(received.clip, window=parameters.window)
        pulse = self.pipe(
            received.clip,
            fps=received.clock.fps,
            window=parameters.window,
            num_inference_steps=parameters.steps,
            ensemble_size=parameters.ensemble,
            generator=parameters.make_generator(),
            crop=parameters.crop,
            output_sheet=True,
        )
        assert isinstance(pulse, PulseOutput)
        return pulse


def hide_paths(message: str, folder: str) -> str:
    """A message in which a file of the request's folder is just "the clip"."""
    return re.sub(rf"{re.escape(folder)}[/\\]clip\.\w+", "the clip", message)


def refuse_long(clip: Path, clock: Clock = OWN_CLOCK) -> None:
    """Read a clip once, up to the limit.

    Raises:
        ValueError: if it cannot be read or is longer than :data:`MOST_SECONDS`.
    """
    for time, _ in read_pictures(clip, clock):
        if time > MOST_SECONDS:
            raise ValueError(f"clips of up to {MOST_SECONDS:g} s are taken")


# -------------------------------------------------------------------------------------- parameters


def allow_number(low: float, high: float) -> Allows:
    """A test for numbers from ``low`` to ``high``."""
    return lambda value: isinstance(value, (int, float)) and low <= value <= high


def allow_whole(low: int, high: int) -> Allows:
    """A test for whole numbers from ``low`` to ``high``."""
    return lambda value: isinstance(value, int) and low <= value <= high


def allow_list(count: int, allows: Allows) -> Allows:
    """A test for lists of ``count`` values that each pass a test."""
    return lambda value: (
        isinstance(value, (list, tuple)) and len(value) == count and all(map(allows, value))
    )


RULES: dict[str, tuple[Allows, str]] = {
    "grid": (allow_list(2, allow_whole(1, 64)), "[rows, columns], each 1 to 64"),
    "seconds": (allow_number(5, MOST_SECONDS), f"5 to {MOST_SECONDS:g}"),
    "fps": (allow_number(1, 1000), "1 to 1000"),
    "window": (allow_number(5, 10), "5 to 10 seconds"),
    "steps": (allow_whole(1, MOST_STEPS), f"1 to {MOST_STEPS}"),
    "ensemble": (allow_whole(1, MOST_ENSEMBLE), f"1 to {MOST_ENSEMBLE}"),
    "seed": (allow_whole(0, 2**63 - 1), "a whole number from 0"),
    "crop": (allow_list(4, allow_number(0, 1e5)), "[left, top, right, bottom] in pixels"),
    "output": (lambda value: value in OUTPUTS, " or ".join(OUTPUTS)),
}
"""Name of each parameter -> a test of its values, and words that say which values pass."""


def check_parameters(sent: Any) -> Parameters:
    """The parameters that were sent; those that were not, or are None, have their defaults.

    What means nothing here is left out, as a ``prompt``: clients send one, and the task has its
    own. Numbers may come as text, because toolkits pass those of a query string so.

    Raises:
        ValueError: if one is unknown, of another type or out of range.
    """
    if not isinstance(sent, dict):
        raise ValueError("parameters must be an object of names and values")
    chosen = {}
    for said, given in sent.items():
        name, value = SAME.get(said, said), given
        if value is None or name in (*WITHOUT_EFFECT, "target_size"):
            continue
        if name not in RULES:
            raise ValueError(f"unknown parameter {name!r}; there are {', '.join(RULES)}")
        if isinstance(value, str) and name != "output":
            value = read_number(value)
        allows, words = RULES[name]
        if isinstance(value, bool) or not allows(value):
            raise ValueError(f"{said} must be {words}, got {quote(given)}")
        chosen[name] = tuple(value) if isinstance(value, list) else value
    return Parameters(**chosen)


def read_number(text: str) -> Any:
    """A number, or a list of them, from its text; other text as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text


# ------------------------------------------------------------------------------------ what is sent


def take_named(inputs: Any) -> Any:
    """What was sent, out of a dict that has it under one of :data:`NAMES`.

    Raises:
        ValueError: if a dict has it under another name.
    """
    if not isinstance(inputs, dict):
        return inputs
    named = [inputs[name] for name in NAMES if inputs.get(name) is not None]
    if len(named) != 1:
        raise ValueError('name what you send: {"inputs": {"video": base64 of a clip}}')
    return named[0]


def receive(inputs: Any, parameters: Parameters, folder: Path, geometry: SheetGeometry) -> Received:
    """What was sent, found out from its content.

    Args:
        inputs: PIL image or base64 text.
        parameters: what the caller chose.
        folder: where a clip may be put for the length of the request.
        geometry: of a pulse sheet.

    Raises:
        ValueError: if it is too large or nothing that can be read.
    """
    if isinstance(inputs, str):
        inputs = decode_base64(inputs)
    if isinstance(inputs, bytes):
        refuse_heavy(len(inputs))
        inputs = open_content(inputs, folder)
    if isinstance(inputs, Path):
        clock = Clock(parameters.fps)
        refuse_long(inputs, clock)
        return Received("clip", inputs, clock)
    if not isinstance(inputs, Image.Image):
        raise ValueError("inputs must be a picture or base64 text of a picture or clip")
    refuse_large(*inputs.size, most=MOST_SHEET_PIXELS)
    image = convert_picture(inputs, "inputs")
    if is_sheet(image, geometry):
        return Received("pulse sheet", image)
    try:
        frames = open_contact_sheet(image, parameters.grid)
    except ClipError as error:
        hint = '; a clip is sent as {"inputs": {"video": base64}}'
        raise ClipError(f"{error}{hint}") from error
    return Received("contact sheet", frames, Clock(len(frames) / parameters.seconds))


def decode_base64(text: str) -> bytes:
    """The bytes of base64 text of either alphabet, with or without ``data:…,`` before it.

    Line breaks and padding do not matter, nor does the case of ``data:``.

    Raises:
        ValueError: if there are more than :data:`MOST_BYTES`, or it is other text.
    """
    text = text.lstrip()
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    text = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    refuse_heavy(len(text) * 3 // 4)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(
            "inputs is neither a picture nor base64 text; no URL or path is opened"
        ) from None


def refuse_heavy(size: int) -> None:
    """Raise ValueError where what was sent has more than :data:`MOST_BYTES`."""
    if size > MOST_BYTES:
        raise ValueError(f"up to {MOST_BYTES // 2**20} MiB are taken, got {size / 2**20:.0f}")


def open_content(content: bytes, folder: Path) -> Path | Image.Image:
    """A still picture, or the file in ``folder`` that a video or an animation was put into."""
    for offset, magic, suffix in VIDEOS:
        if content[offset:].startswith(magic):
            return save_video(content, folder / f"clip{suffix}")
    return open_picture(content, folder)


def save_video(content: bytes, path: Path) -> Path:
    """Put a video into a file; its size is checked before a picture of it is decoded.

    Raises:
        ValueError: if it is no video, or its pictures are larger than :data:`MOST_PIXELS`.
    """
    path.write_bytes(content)
    with open_container(f"file:{path}", "the clip") as container:
        for stream in container.streams.video:
            refuse_large(stream.width, stream.height)
    return path


def open_picture(content: bytes, folder: Path) -> Path | Image.Image:
    """A still picture, or the file in ``folder`` that an animation was put into.

    Raises:
        ValueError: if it is none that can be read, or larger than :data:`MOST_SHEET_PIXELS`, each
            picture of an animation than :data:`MOST_PIXELS`.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=PICTURES)
        refuse_large(*image.size, most=MOST_SHEET_PIXELS)
        if getattr(image, "n_frames", 1) > 1:
            refuse_large(*image.size)
            path = folder / f"clip.{str(image.format).lower()}"
            path.write_bytes(content)
            return path
        return convert_picture(image, "inputs")
    except Image.DecompressionBombError:  # of more than twice Pillow's own limit
        raise ValueError(f"pictures of up to {MOST_SHEET_PIXELS} pixels are taken") from None
    except (OSError, SyntaxError):
        raise ValueError(
            "inputs is no picture, GIF, WebP, APNG, MP4, MOV, MKV, WebM or AVI that can be read"
        ) from None


def refuse_large(width: int, height: int, most: int | None = None) -> None:
    """Raise ValueError where a picture has more than ``most`` pixels, :data:`MOST_PIXELS` at first.

    Args:
        width, height: in pixels.
        most: of a still picture; None for a frame of a clip.
    """
    if width * height > (most or MOST_PIXELS):
        kind = "pictures" if most else "frames"
        raise ValueError(
            f"{kind} of up to {most or MOST_PIXELS} pixels are taken, got {width} x {height}"
        )


# ------------------------------------------------------------------------------- what is sent back


def draw_page(pulse: PulseOutput, received: Received) -> Image.Image:
    """The page of figures: the pulse over the face where there is one, sheet, trace and rate."""
    pictures = []
    if received.kind != "pulse sheet":
        pictures = pictures_at(received.clip, list_beat_moments(pulse), received.clock)
    page = io.BytesIO()
    plot_result(pulse, pictures, received.kind).savefig(page, format="png")
    return Image.open(page).convert("RGB")


if __name__ == "__main__":  # python handler.py PICTURE ANSWER.png: what the widget would show
    answer = EndpointHandler()({"inputs": Image.open(sys.argv[1])})
    assert isinstance(answer, Image.Image)
    answer.save(sys.argv[2])
