"""The calls that run in a pipeline: each keeps its own state, so that threads can share it.

Here live also the arguments that image-to-image calls have and this pipeline has no use for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers.utils import logging

logger = logging.get_logger(__name__)

WITHOUT_EFFECT = (
    *("prompt", "negative_prompt", "guidance_scale", "true_cfg_scale", "strength"),
    *("height", "width", "num_images_per_prompt", "max_sequence_length", "sigmas", "latents"),
    *("negative_prompt_embeds", "attention_kwargs", "text_encoder_out_layers"),
)
"""Arguments of image-to-image pipelines that change nothing here."""


@dataclass(eq=False)
class Call:
    """The state of one call.

    Attributes:
        thread: identifier of the thread that it runs in.
        interrupted: whether it is to stop drawing.
        num_timesteps: steps of its flow.
        current_timestep: of the step that is being taken, None between the runs of its flow.
    """

    thread: int
    interrupted: bool = False
    num_timesteps: int = 0
    current_timestep: Any = None


class RunningCalls:
    """The calls of one pipeline that are running now, in all threads."""

    def __init__(self):
        self._running: list[Call] = []

    @contextmanager
    def start(self) -> Iterator[Call]:
        """A new call of this thread, known while the context lasts."""
        call = Call(threading.get_ident())
        self._running.append(call)
        try:
            yield call
        finally:
            self._running.remove(call)

    def get_own(self) -> Call:
        """This thread's innermost running call; an idle one where none runs."""
        own = threading.get_ident()
        mine = [call for call in self._running if call.thread == own]
        return mine[-1] if mine else Call(own)

    def interrupt(self, value: bool) -> None:
        """Set ``interrupted`` of this thread's call; of all that run where it has none."""
        own = self.get_own()
        for call in [own] if own in self._running else list(self._running):
            call.interrupted = value


def choose_clip(clip: Any, image: Any, others: Mapping[str, Any]) -> Any:
    """The clip of a call, under whichever name it came; arguments without effect are warned of.

    Args:
        clip, image: two names of one argument.
        others: the arguments that the call does not know.

    Raises:
        TypeError: without a clip, with two, and for arguments that no pipeline has.
    """
    unknown = sorted(set(others) - set(WITHOUT_EFFECT))
    if unknown:
        raise TypeError(f"PulsePipeline has no argument {unknown[0]!r}")
    if (clip is None) == (image is None):
        raise TypeError("give one clip, as clip= or as image=")
    ignored = [name for name, value in others.items() if value is not None]
    if ignored:
        logger.warning(
            f"ignored: {', '.join(ignored)}; the adapter has one prompt, one size of its sheets "
            "and no guidance"
        )
    if isinstance(image, list) and len(image) == 1:  # as image-to-image pipelines take them
        image = image[0]
    return image if clip is None else clip


def warn_of_steps(steps: int, trained: int) -> None:
    """Warn of more steps than an adapter was trained for."""
    if steps > trained:
        logger.warning(
            f"the adapter was trained for {trained} step{'s' * (trained > 1)} of the flow: with "
            f"{steps} it draws worse, and may find no pulse where there is one"
        )
