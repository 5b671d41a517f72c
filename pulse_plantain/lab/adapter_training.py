"""Training of the LoRA that makes a FLUX.2-klein-shaped base draw pulse sheets.

The loop over steps and processes, its reports and its checkpoints. Stops at any time; the same
training goes on where it stopped.
"""

import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib import import_module
from statistics import fmean
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm

from pulse_plantain.adapter import write_adapter
from pulse_plantain.lab.adapter_model import AdapterModel, Lora
from pulse_plantain.lab.adapter_settings import AdapterSettings
from pulse_plantain.lab.ahead import choose_batch, simulate_ahead
from pulse_plantain.lab.batches import TRAIN, open_batches
from pulse_plantain.lab.losses import compute_loss
from pulse_plantain.lab.training import (
    WINDOWS,
    Log,
    choose_window,
    learning_rate,
    load_checkpoint,
    measure_peak_gib,
    save_checkpoint,
    set_learning_rate,
)
from pulse_plantain.lab.validation import Validator
from pulse_plantain.video import ClipError

REPORT_EVERY, SAVE_EVERY = 25, 200

SAVE_AFTER = 600
"""Seconds after which a checkpoint is due in any case: a step can take minutes without a GPU."""


def choose_optimizer(name: str) -> Callable[..., torch.optim.Optimizer]:
    """AdamW of torch ("adamw"), or of bitsandbytes with 8-bit moments ("adamw8bit").

    Raises:
        ClipError: if bitsandbytes is not installed.
    """
    if name == "adamw":
        return torch.optim.AdamW
    try:
        return import_module("bitsandbytes.optim").AdamW8bit
    except ImportError as error:
        raise ClipError("--optimizer adamw8bit needs `pip install bitsandbytes`") from error


class Trainer:
    """A model, its data and the loop, in one of the processes that train it.

    Args:
        settings: of the training.

    Raises:
        ClipError, OSError: if the base, the data or the optimizer are not as they must be.
    """

    def __init__(self, settings: AdapterSettings):
        make_optimizer = choose_optimizer(settings.optimizer)
        self.settings = settings
        self.accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        self.device = self.accelerator.device
        self.rank, self.ranks = self.accelerator.process_index, self.accelerator.num_processes
        self.model = AdapterModel(settings, self.accelerator)
        self.batches = open_batches(settings, self.model.vae, self.device, self.ranks)
        self.validator = Validator(
            self.model, self.batches, settings.validation_batches, self.rank, self.ranks
        )
        self.optimizer = make_optimizer(
            self.model.trained, lr=settings.lr, betas=(0.9, 0.99), weight_decay=0.0
        )
        self.losses: dict[str, list[float]] = defaultdict(list)  # since the last report
        self.log: Log | None = None
        self.ahead: Iterator[dict[str, torch.Tensor]] | None = None

    def run(self) -> None:
        """Train to the last step, validate, and write the adapter."""
        settings, first = self.settings, self.accelerator.is_main_process
        peft = self.model.peft
        state = {
            "model": peft if settings.full else Lora(peft),
            "average": self.model.average,
            "optimizer": self.optimizer,
        }
        start = load_checkpoint(settings.checkpoint, **state)
        if first:
            how = {"processes": self.ranks, "sharded": self.model.sharded, "windows": WINDOWS}
            self.log = Log(settings.log, settings.seed, vars(settings) | how)
        if settings.workers and not settings.data:
            self.ahead = simulate_ahead(settings, start, self.rank, self.ranks, self.device.type)
        scores, saved = None, time.monotonic()
        bar = tqdm(range(start, settings.steps), "adapter", settings.steps, initial=start)
        bar.disable = not first
        for step in bar:
            self.take_step(step)
            done = step + 1
            if done % REPORT_EVERY == 0:
                bar.set_postfix(self.report(done))
            due = done % SAVE_EVERY == 0 or time.monotonic() - saved > SAVE_AFTER
            if first and (due or done == settings.steps):
                save_checkpoint(settings.checkpoint, done, **state)
                saved = time.monotonic()
            if done % settings.validate_every == 0 or done == settings.steps:
                scores = self.validator.validate()
                if first:
                    tqdm.write(f"step {done}: {json.dumps(scores)}")
                self.note({"step": done, "validation": scores})
        self.finish(scores)

    def take_step(self, step: int) -> None:
        """One step of the optimizer; each process learns from batches of its own."""
        settings, trained = self.settings, self.model.trained
        set_learning_rate([self.optimizer], learning_rate(step, settings.steps, 1.0))
        self.optimizer.zero_grad()
        parts = self.ranks * settings.accumulate
        for part in range(self.rank, parts, self.ranks):  # no two ranks see the same
            total, losses = self.compute_part(step, part)
            (total / settings.accumulate).backward()
            for name, value in losses.items():
                self.losses[name].append(value)
        self.average_gradients(trained)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        self.optimizer.step()
        self.model.average.update(self.model.peft, step)

    def compute_part(self, step: int, part: int) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of one of the batches that make up a step."""
        settings = self.settings
        parts = self.ranks * settings.accumulate
        number = step * parts + part
        rng = torch.Generator().manual_seed(settings.seed * 10_000_000 + number)
        if self.ahead is not None:
            batch = {name: tensor.to(self.device) for name, tensor in next(self.ahead).items()}
        else:
            if not self.batches.recorded:
                number = choose_batch(settings, step, part, parts)
            batch = self.batches.load(TRAIN, number, choose_window(number))
        return compute_loss(settings.objective, self.model, batch, settings.noise_scale, rng)

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Take the mean of all processes' gradients, as one flat sum: an adapter's are few."""
        if self.ranks == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        mean: Any = self.accelerator.reduce(flat, "mean")
        parts = mean.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def report(self, done: int) -> dict[str, float]:
        """Log the mean losses since the last report, and return them."""
        row = {name: round(fmean(values), 4) for name, values in self.losses.items()}
        self.losses.clear()
        clips = done * self.ranks * self.settings.accumulate * self.settings.batch
        memory = {"peak_gib": round(measure_peak_gib(self.device.type), 3)}
        self.note({"step": done, "clips": clips} | row | memory)
        return row

    def note(self, row: dict[str, Any]) -> None:
        """Write a row into the log, if this is the process that keeps it."""
        if self.log is not None:
            self.log.write(row)

    def finish(self, scores: dict[str, Any] | None) -> None:
        """Validate what is left to be validated, and write the adapter.

        Args:
            scores: of the last validation; None where nothing was left to train.
        """
        settings = self.settings
        if scores is None:
            scores = self.validator.validate()
            self.note({"step": settings.steps, "validation": scores})
        for steps in settings.also_steps:
            more = self.validator.validate(steps)
            self.note({"step": settings.steps, "inference_steps": steps, "validation": more})
        if not self.accelerator.is_main_process or settings.full:
            return
        self.model.average.exchange(self.model.peft)
        layout = self.model.layout
        write_adapter(
            settings.out,
            self.model.peft,
            {
                "geometry": layout.geometry.to_dict(),
                "appearance_size": list(layout.appearance_size),
                "default_windows": list(WINDOWS),
                "noise_scale": settings.noise_scale,
            },
            base_model=settings.base,
        )

    def close(self) -> None:
        """Take leave of the other processes; a sharded process ends here."""
        self.accelerator.end_training()
        if self.model.sharded:
            leave()


def leave() -> None:
    """End a sharded process at once, its work done, without taking the interpreter down.

    torch caches the placements of sharded tensors and with them the mesh: the process group then
    outlives its destruction, and so do its threads. One of them that wants the interpreter while
    it goes down aborts the process (seen with Gloo; without shards the threads are joined).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def train_adapter(settings: AdapterSettings) -> None:
    """Train an adapter, and write it.

    Raises:
        ClipError, OSError: as :class:`Trainer`.
    """
    trainer = Trainer(settings)
    trainer.run()
    trainer.close()
