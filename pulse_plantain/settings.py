"""How clips are measured: the choices of a command, checked before a model is loaded."""

from __future__ import annotations

import gc
import sys
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch and diffusers take seconds: bad arguments are refused before
    from .output import PulseOutput
    from .pipeline import PulsePipeline


@dataclass(frozen=True)
class Settings:
    """What is asked of a pipeline, the same for every clip of a command.

    Args:
        model: pipeline folder or Hub id; the miniature where None.
        adapter: adapter folder or Hub id; the miniature's where both are None.
        device: of torch; CUDA where there is one, else the CPU.
        fps: pictures a second, in place of a clip's own time stamps.
        window: seconds that are read at once; the adapter's own lengths where None.
        stride: seconds from one window to the next; half a window where None.
        crop: (left, top, right, bottom) in pixels; where None, the pulse is searched for.
        steps: steps of the flow; the adapter's own number where None.
        ensemble: drawings to average.
        seed: of the noise; a single drawing without a seed has none.
    """

    model: str | None = None
    adapter: str | None = None
    device: str | None = None
    fps: float | None = None
    window: float | None = None
    stride: float | None = None
    crop: tuple[float, float, float, float] | None = None
    steps: int | None = None
    ensemble: int = 1
    seed: int | None = None

    @classmethod
    def from_arguments(cls, args: Any) -> Settings:
        """The settings among a command's parsed arguments."""
        known = vars(args)
        values = {field.name: known[field.name] for field in fields(cls) if field.name in known}
        if values.get("crop") is not None:
            values["crop"] = tuple(values["crop"])
        return cls(**values)

    def describe(self) -> str:
        """The choices that differ from the defaults, in words that are the same for the same ones.

        The device is left out: it changes no figure.
        """
        default = asdict(Settings())
        chosen = {
            name: value
            for name, value in asdict(self).items()
            if name != "device" and value != default[name]
        }
        return " ".join(
            f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
            for name, value in chosen.items()
        )

    def check(self) -> None:
        """Raise ValueError with the value that no clip could be measured with."""
        from .drawing import Drawing
        from .video import Clock
        from .windows import MAX_SECONDS, check_windows

        Clock(self.fps)
        check_windows([MAX_SECONDS if self.window is None else self.window], self.stride)
        Drawing(
            num_inference_steps=1 if self.steps is None else self.steps,
            ensemble_size=self.ensemble,
        )

    def check_clip(self, clip: str) -> None:
        """Raise ClipError where a clip does not even begin, or the crop is not inside it."""
        from .video import Clock, find_size, read_pictures
        from .windows import fit_crop

        _, picture = next(read_pictures(clip, Clock(self.fps)))
        fit_crop(self.crop, find_size(picture))

    def load(self) -> PulsePipeline:
        """The pipeline, with a progress bar on a terminal.

        Python's garbage collector is off while modules are loaded, and does not look at what they
        leave: hundreds of modules make hundreds of thousands of objects that stay, and looking
        through them again and again is a tenth of the time that importing diffusers takes.

        Raises:
            OSError, ValueError: as :func:`~pulse_plantain.loading.load_pipeline`.
        """
        gc.disable()
        try:
            import transformers
            from diffusers.utils import logging

            from .loading import load_pipeline

            logging.set_verbosity_error()
            logging.disable_progress_bar()
            transformers.utils.logging.disable_progress_bar()
            pipe = load_pipeline(self.model, self.adapter, self.device)
        finally:
            gc.freeze()
            gc.enable()
        pipe.set_progress_bar_config(disable=not sys.stderr.isatty(), leave=False)
        return pipe

    def measure(self, pipe: PulsePipeline, clip: str) -> PulseOutput:
        """Measure a clip.

        Raises:
            ClipError, ValueError: as the pipeline's call.
        """
        import torch

        noise = self.seed is not None or self.ensemble > 1
        output = pipe(
            clip,
            fps=self.fps,
            window=self.window,
            stride=self.stride,
            crop=self.crop,
            num_inference_steps=self.steps,
            ensemble_size=self.ensemble,
            generator=torch.Generator().manual_seed(self.seed or 0) if noise else None,
            output_sheet=True,
        )
        assert not isinstance(output, tuple)
        return output
