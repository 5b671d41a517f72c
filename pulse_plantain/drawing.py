"""How the sheets of one call are drawn: the options that every look of the call shares."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral

import torch

CALLBACK_TENSORS = ("latents", "prompt_embeds")
"""What `callback_on_step_end` can be given and may change."""


MOST = {"num_inference_steps": 1000, "ensemble_size": 1000, "batch_size": 4096}
"""Largest number of each option; the scheduler of FLUX.2 is trained on 1000 steps."""


@dataclass(frozen=True)
class Drawing:
    """Options of drawing, checked.

    Args:
        num_inference_steps: of the flow.
        ensemble_size: drawings of every window, from different noise.
        batch_size: drawings made at once.
        generator: source of the noise; without it a single drawing has none.
        prompt_embeds: [1, L, D] on the transformer's device and in its type; None until they are
            known.
        keep_sheets: whether the sheets are kept beside what is read from them.
        callback: called after every step as diffusers' `callback_on_step_end`.
        callback_tensors: names of the tensors that it gets, of :data:`CALLBACK_TENSORS`; one of
            diffusers' own kind (`PipelineCallback`) says itself what it wants.

    Raises:
        ValueError: with the value that is wrong.
    """

    num_inference_steps: int = 1
    ensemble_size: int = 1
    batch_size: int = 8
    generator: torch.Generator | None = None
    prompt_embeds: torch.Tensor | None = None
    keep_sheets: bool = False
    callback: Callable | None = None
    callback_tensors: Sequence[str] = ()

    def __post_init__(self):
        for name, most in MOST.items():
            count = getattr(self, name)
            if not isinstance(count, Integral) or count < 1:
                raise ValueError(f"{name} must be a positive integer, got {count!r}")
            if int(count) > most:
                raise ValueError(f"{name} must be at most {most}, got {count}")
        if self.generator is not None and not isinstance(self.generator, torch.Generator):
            raise ValueError(f"generator must be one torch.Generator, got {type(self.generator)}")
        wanted = getattr(self.callback, "tensor_inputs", None)
        if wanted is not None:
            object.__setattr__(self, "callback_tensors", tuple(wanted))
        unknown = set(self.callback_tensors) - set(CALLBACK_TENSORS)
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs must be in {list(CALLBACK_TENSORS)}, "
                f"got {sorted(unknown)}"
            )

    def report_step(self, pipe, step: int, timestep, tensors: dict[str, torch.Tensor]) -> dict:
        """Call the callback after a step.

        Args:
            pipe: the pipeline that draws.
            step, timestep: of the flow.
            tensors: what it may be given, by name.

        Returns:
            ``tensors``, those replaced that the callback returned.
        """
        if self.callback is None:
            return tensors
        given = {name: tensors[name] for name in self.callback_tensors}
        return tensors | (self.callback(pipe, step, timestep, given) or {})
