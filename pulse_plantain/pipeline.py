"""The diffusers pipeline: a clip goes in, a pulse sheet is drawn, a heart rate comes out.

Here live the call and its steps; tokens, windows, the reading and the search have their own rooms.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from diffusers.utils.torch_utils import randn_tensor
from transformers import (
    Qwen2TokenizerFast,  # pyright: ignore[reportAttributeAccessIssue]
    Qwen3ForCausalLM,
)

from . import adapter, calls, contact_sheet, flux2, lora, parts, posterior, search, sheet, video
from . import drawing as drawings
from . import memory as memories
from . import output as outputs
from . import reading as reader
from . import saved_sheet as saved
from . import windows as windowing

GPU_DTYPES = {"default": torch.bfloat16, "vae": torch.float32}
"""`dtype=` of `from_pretrained` for a GPU. Rounded to bfloat16, the VAE's encoder makes a tenth of
the drawing wrong (docs/tried.md); its decoder is run in the transformer's type."""


class PulsePipeline(Flux2KleinPipeline):
    """Pipeline that draws the pulse of a clip and reads the heart rate off the drawing.

    The flow runs from the motion sheet to the pulse sheet: it starts from the motion sheet's
    latents where a text-to-image model starts from noise (as GenPercept does, arXiv 2403.06090; a
    rectified flow between two kinds of pictures, arXiv 2209.03003), and has the appearance image
    as its one reference. With the motion sheet as a second reference, looking up the token at the
    same place was not learnt within the miniature's budget (no progress in 200 steps; from the
    motion latents a copy takes 60), and the sequence is 40 % shorter without it.

    It is a [`Flux2KleinPipeline`] of the same components; `geometry`, `appearance_size`,
    `noise_scale` and `min_confidence` belong to the adapter and come with `load_lora_weights`.

    Args:
        scheduler ([`FlowMatchEulerDiscreteScheduler`]):
            Scheduler of the flow.
        vae ([`AutoencoderKLFlux2`]):
            Turns the clip's two pictures into tokens and the drawn tokens into a pulse sheet.
        text_encoder ([`Qwen3ForCausalLM`] or `None`):
            Embeds the one prompt; `None` where `prompt_embeds` is passed to the call.
        tokenizer (`Qwen2TokenizerFast` or `None`):
            Its tokenizer.
        transformer ([`Flux2Transformer2DModel`]):
            Draws; the LoRA adapter goes in here.
        is_distilled (`bool`):
            Of the base, as in the parent. Nothing here uses guidance.
        geometry (`SheetGeometry` or `dict`, *optional*):
            Layout of the sheets. `None` (any FLUX.2-klein base) until an adapter brings its own.
        appearance_size (`tuple[int, int]`):
            (width, height) of the appearance image in pixels.
        default_windows (`tuple[float]`):
            Lengths of a window in seconds, 5 to 10: a clip is drawn at each. The longer the window,
            the faster a pulse looks on the sheet: a drawing that fails at one length because the
            rate is slow or fast often succeeds at another.
        default_num_inference_steps (`int`):
            Steps of the flow; the adapter is trained for one.
        noise_scale (`float`):
            Standard deviation of the noise on the start, with a generator or an ensemble.
        min_confidence (`float`):
            Chance of being right within 3 bpm below which no heart rate is given.
        reading (`dict`, *optional*):
            Numbers of the reading ([`posterior.Weights`]), which are fitted to an adapter.
        merged_adapter (`str`, *optional*):
            Digest of the adapter that is in the transformer's own weights ([`save_pretrained`]).
    """

    _optional_components = ["text_encoder", "tokenizer"]  # noqa: RUF012 - as diffusers has it
    config: Any  # diffusers' frozen dict; its values are attributes, too
    progress_bar: Any

    _adapter_values = (
        "geometry",
        "appearance_size",
        "default_windows",
        "default_num_inference_steps",
        "noise_scale",
        "min_confidence",
        "reading",
    )

    def __init__(  # noqa: PLR0913, PLR0917 - diffusers reads components and config off it
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        vae: AutoencoderKLFlux2,
        text_encoder: Qwen3ForCausalLM,
        tokenizer: Qwen2TokenizerFast,
        transformer: Flux2Transformer2DModel,
        is_distilled: bool = False,
        geometry: dict | None = None,
        appearance_size=(64, 64),
        default_windows=(8.0,),
        default_num_inference_steps: int = 1,
        noise_scale: float = 1.0,
        min_confidence: float = posterior.MIN_CONFIDENCE,
        reading: dict | None = None,
        merged_adapter: str | None = None,
    ):
        self._calls = calls.RunningCalls()
        super().__init__(
            scheduler=scheduler,
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            transformer=transformer,
            is_distilled=is_distilled,
        )
        if isinstance(geometry, sheet.SheetGeometry):
            geometry = geometry.to_dict()
        self.register_to_config(
            geometry=geometry,
            appearance_size=list(appearance_size),
            default_windows=list(default_windows),
            default_num_inference_steps=default_num_inference_steps,
            noise_scale=noise_scale,
            min_confidence=min_confidence,
            reading=reading,
            merged_adapter=merged_adapter,
        )
        flux2.skip_silent_branches(self.vae)
        self._prompt_embeds = None
        self._before_adapter = None  # the values that an adapter took the place of

    @property
    def geometry(self) -> sheet.SheetGeometry | None:
        """Layout of the sheets, None before an adapter (or the config) has said it."""
        numbers = self.config.geometry
        return None if numbers is None else sheet.SheetGeometry.from_dict(numbers)

    @property
    def layout(self) -> sheet.Layout:
        """The two pictures that the model sees of a window.

        Raises:
            ValueError: before an adapter (or the config) has said the geometry, and where the
                pictures are not whole tokens.
        """
        geometry = self.geometry
        if geometry is None:
            raise ValueError(lora.NO_ADAPTER)
        layout = sheet.Layout(geometry, self.config.appearance_size)
        flux2.check_tokens(layout, flux2.token_size(self.vae))
        return layout

    # ------------------------------------------------------------------------------ running calls

    @property
    def _interrupt(self) -> bool:
        """Whether this thread's call is to stop; a callback that sets it stops its own call only.

        Set in a thread that runs no call, it stops all that are running.
        """
        return self._calls.get_own().interrupted

    @_interrupt.setter
    def _interrupt(self, value: bool) -> None:
        self._calls.interrupt(value)

    @property
    def num_timesteps(self) -> int:
        """Steps of this thread's running call, 0 outside one."""
        return self._calls.get_own().num_timesteps

    @property
    def current_timestep(self):
        """Timestep of this thread's running call, None outside one."""
        return self._calls.get_own().current_timestep

    # -------------------------------------------------------------------------------- the adapter

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict,
        adapter_name: str | None = None,
        hotswap: bool = False,
        **kwargs,
    ):
        """Load an adapter and take over what its file's header says (key `pulse_config`).

        As the parent's, with two differences: where no `weight_name` is given, the file is the
        first of [`adapter.PLACES`] that is there, and a header with a geometry is compared with the
        pipeline's own, or adopted where the pipeline has none.

        Raises:
            ValueError: if the adapter was trained for sheets of another geometry or another base.
        """
        source, header = lora.find_adapter(pretrained_model_name_or_path_or_dict, **kwargs)
        if lora.holds_already(self, source):
            return
        adapter.check_header(header, self._adapter_values, self.geometry)
        super().load_lora_weights(source, adapter_name=adapter_name, hotswap=hotswap, **kwargs)
        lora.hasten(self.transformer)
        if header and self._before_adapter is None:
            self._before_adapter = {name: self.config[name] for name in self._adapter_values}
        self.register_to_config(**header)

    def unload_lora_weights(self):
        """Take the adapter out again, and with it what it brought; what is fused stays."""
        merged = lora.digest_merged(self.transformer)
        super().unload_lora_weights()
        before = {"merged_adapter": merged} if merged else self._before_adapter
        self.register_to_config(**(before or {}))
        self._before_adapter = None

    def save_lora_weights(self, save_directory, transformer_lora_layers=None, **kwargs):
        """Write the adapter with its header, so that `load_lora_weights(save_directory)` reads it.

        A method of an instance, because the header is what this pipeline's config says. The layers
        are those of the adapter at work where none are given.
        """
        header = {name: self.config[name] for name in self._adapter_values}
        given = lora.describe_for_saving(self.transformer, transformer_lora_layers, kwargs)
        super().save_lora_weights(save_directory, **given)
        lora.write_header(save_directory, header, kwargs.get("weight_name"))

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As the parent's; an adapter is merged into the weights that are written."""
        if self.text_encoder is None:  # first, so that it is pushed with the rest
            adapter.keep_prompt(self, Path(save_directory))
        with lora.merge_for_saving(self):
            super().save_pretrained(save_directory, *args, **kwargs)

    # -------------------------------------------------------------------------------- the prompt

    @torch.no_grad()
    def encode_task_prompt(self) -> torch.Tensor:
        """Embeddings [1, L, D] of the one prompt of the task, not padded; computed once.

        Raises:
            ValueError: without a text encoder, unless the embeddings lie beside the pipeline.
        """
        if self._prompt_embeds is None:
            self._prompt_embeds = adapter.embed_prompt(self)
        return self._prompt_embeds

    def save_prompt_embeds(self, path):
        """Write the prompt's embeddings, so that the text encoder need not be loaded again."""
        adapter.write_prompt_embeds(path, self.encode_task_prompt())

    def load_prompt_embeds(self, path):
        """Take the prompt's embeddings from a file, so that no text encoder is needed.

        Raises:
            ValueError: if they are another prompt's.
        """
        self._prompt_embeds = adapter.read_prompt_embeds(path)

    def _resolve_prompt_embeds(self, prompt_embeds, device):
        """[1, L, D] on the device, from a tensor, a file, or the text encoder."""
        known = self.encode_task_prompt() if prompt_embeds is None else prompt_embeds
        width = self.transformer.config.joint_attention_dim
        embeds = adapter.check_prompt_embeds(known, width)
        return embeds.to(device, self.transformer.dtype)

    # ---------------------------------------------------------------------------------- the call

    def check_inputs(
        self, lengths, stride, crop, output_type: str, output_uncertainty: bool, drawing
    ) -> None:
        """ValueError with the value that is wrong; nothing heavy has run yet."""
        windowing.check_windows(lengths, stride)
        if crop is not None:
            windowing.check_crop(crop)
        outputs.wants_tensors(output_type)
        if output_uncertainty and drawing.ensemble_size == 1:
            raise ValueError("output_uncertainty needs an ensemble_size above 1")

    @torch.no_grad()
    def __call__(  # noqa: PLR0913, PLR0917 - the call of a diffusers pipeline
        self,
        clip=None,
        fps: float | None = None,
        timestamps=None,
        window: float | tuple[float, ...] | None = None,
        stride: float | None = None,
        crop: tuple[float, float, float, float] | None = None,
        num_inference_steps: int | None = None,
        ensemble_size: int = 1,
        batch_size: int = 8,
        generator: torch.Generator | None = None,
        prompt_embeds: torch.Tensor | str | Path | None = None,
        output_type: str = "np",
        output_uncertainty: bool = False,
        output_sheet: bool = False,
        callback_on_step_end: Callable | None = None,
        callback_on_step_end_tensor_inputs: tuple[str, ...] = ("latents",),
        return_dict: bool = True,
        image=None,
        **without_effect,
    ) -> outputs.PulseOutput | tuple:
        """Measure the pulse in a clip.

        Args:
            clip:
                Path of a video, an animated picture or a folder of numbered images; a file's bytes
                or a binary file object; array `[T, H, W, 3]`; tensor `[T, 3, H, W]`; frames of
                torchcodec, torchvision or decord; list or iterator of pictures; PIL image of a
                contact sheet of 8 s, or of pulse sheets ([`save_sheet`]), which are read.
            fps, timestamps:
                Frames a second, or the time of each picture (seconds or datetimes), where the clip
                has none.
            window (`float` or `tuple[float]`, *optional*):
                Seconds drawn at once, 5 to 10, or several lengths; from the config.
            stride (`float`, *optional*):
                Seconds from one window to the next; half a window.
            crop (`tuple`, *optional*):
                (left, top, right, bottom) in pixels to read; the rest of the picture is compared
                with it. Without it the pulse is searched for all along ([`search.Search`]).
            num_inference_steps (`int`, *optional*):
                Steps of the flow; from the config, 1.
            ensemble_size (`int`):
                Drawings from different noise whose phasors are averaged, each time that something
                is drawn.
            batch_size (`int`):
                Drawings made at once; the search for the pulse has dozens of them.
            generator (`torch.Generator`, *optional*):
                Source of the noise. Without it a single drawing starts from the motion sheet's
                latents as they are, and is the same each time.
            prompt_embeds (`torch.Tensor` `[1, L, D]` or path, *optional*):
                Embeddings of the prompt, in place of the text encoder ([`save_prompt_embeds`]).
            output_type (`str`):
                `"np"` or `"pt"`.
            output_uncertainty (`bool`):
                Also give the spread of the field over the ensemble.
            output_sheet (`bool`):
                Also give the pulse sheets.
            callback_on_step_end (`Callable`, *optional*):
                Called as `callback(pipe, step, timestep, tensors)` after every step of every batch;
                it may return changed tensors, and may set `pipe._interrupt = True`.
            callback_on_step_end_tensor_inputs (`tuple[str]`):
                Which tensors it gets: `latents`, `prompt_embeds`.
            return_dict (`bool`):
                `False` for a plain tuple in the order of [`PulseOutput`].
            image:
                The clip, as image-to-image pipelines call it; the pulse sheets are kept then.
            without_effect:
                `prompt` and what else image-to-image calls have; ignored with a warning.

        Returns:
            [`PulseOutput`] or `tuple`.

        Raises:
            ClipError: (a ValueError) if nothing can be measured from the clip.
            ValueError: for arguments out of range.
        """
        # 0. Take the clip, and resolve defaults from the config.
        clip = calls.choose_clip(clip, image, without_effect)
        config = self.config
        lengths = windowing.window_lengths(config.default_windows if window is None else window)
        steps, trained = num_inference_steps, config.default_num_inference_steps
        steps = trained if steps is None else steps

        # 1. Check inputs.
        drawing = drawings.Drawing(
            num_inference_steps=steps,
            ensemble_size=ensemble_size,
            batch_size=batch_size,
            generator=generator,
            keep_sheets=output_sheet or image is not None,
            callback=callback_on_step_end,
            callback_tensors=callback_on_step_end_tensor_inputs,
        )
        self.check_inputs(lengths, stride, crop, output_type, output_uncertainty, drawing)
        calls.warn_of_steps(steps, trained)
        if contact_sheet.is_still(clip):
            if saved.is_sheet(clip, self.layout.geometry):
                length = None if window is None else lengths[0]
                read = self.decode_sheet(clip, None, length, None, output_type)
                return outputs.give(read, return_dict)
            clip, fps = contact_sheet.open_timed(clip, fps, timestamps)

        # 2. Encode the clip, in one pass. The first windows come before any model is needed, so a
        # clip that cannot be read fails early.
        clock, lost = video.Clock(fps, timestamps), video.Lost()
        windows = self.encode_clip(clip, clock, lengths, stride, crop, lost)
        groups = search.divide_by_ticks(windows, max(lengths), search.TICK)
        first = next(groups, None)
        if first is None:
            raise video.ClipError("no picture of the clip differs from the one before it")

        with self._calls.start() as call:
            # 3. Prompt. Model invocation: self.text_encoder, unless embeddings are given or known.
            embeds = self._resolve_prompt_embeds(prompt_embeds, self._execution_device)
            drawing = replace(drawing, prompt_embeds=embeds)

            # 4. Look, all along the clip: draw sheets and read them.
            # Model invocation: self.vae.encode, self.transformer, self.vae.decode.
            looking = self.start_search(lengths, drawing, crop)
            for group in chain([first], groups):
                looking.take(group)
                memories.let_go(group)  # a whole picture's windows
                if call.interrupted:
                    break

            # 5. Put the output together, and offload all models.
            form = outputs.Form(config.min_confidence, output_type == "pt", output_uncertainty)
            read = looking.read()
            two = parts.find_two_rates(looking.drawn, self.reading_weights)
            output = outputs.assemble_output(looking.drawn, read, form, call.interrupted, parts=two)
            output.lost = lost
        self.maybe_free_model_hooks()
        return outputs.give(output, return_dict)

    @torch.no_grad()
    def watch(
        self,
        clip,
        fps: float | None = None,
        timestamps=None,
        window: float | tuple[float, ...] | None = None,
        stride: float | None = None,
        crop: tuple[float, float, float, float] | None = None,
        prompt_embeds: torch.Tensor | str | Path | None = None,
    ) -> Iterator[outputs.PulseOutput]:
        """Measure pictures that are still coming in: the last window again and again.

        Memory is that of half a minute, however long it goes on. Where the pulse is is searched
        for as `__call__` does it.

        Args:
            clip, fps, timestamps, window, crop, prompt_embeds: as for `__call__`; `clip` may be an
                endless iterator of pictures, `timestamps` one that keeps pace with it.
            stride (`float`, *optional*): seconds from one reading to the next; 1.

        Yields:
            [`PulseOutput`] of the last window, as soon as its last picture is there.

        Raises:
            ClipError: as `__call__`.
        """
        lengths: Any = self.config.default_windows if window is None else window
        lengths = sorted(windowing.window_lengths(lengths), reverse=True)
        stride = windowing.check_windows(lengths, 1.0 if stride is None else stride)
        drawing = drawings.Drawing(
            num_inference_steps=self.config.default_num_inference_steps,
            prompt_embeds=self._resolve_prompt_embeds(prompt_embeds, self._execution_device),
            keep_sheets=True,
        )
        clock, lost = video.Clock(fps, timestamps), video.Lost()
        windows = self.encode_clip(clip, clock, lengths, stride, crop, lost)
        form = outputs.Form(self.config.min_confidence)
        with self._calls.start() as call:
            looking = self.start_search(lengths, drawing, crop)
            group: list[windowing.ClipWindow] = []  # that end together, the longest first
            for one in windows:
                if call.interrupted:
                    return
                group.append(one)
                if one.seconds > min(lengths):
                    continue
                looking.take(group)
                looking.forget(one.end - search.REMEMBERED)
                span = (min(window.start for window in group), one.end)
                read = looking.read(min(seen.window.start for seen in looking.drawn), one.end)
                output = outputs.assemble_output(looking.drawn, read, form, call.interrupted, span)
                output.lost = replace(lost)
                yield output
                memories.let_go(group)
        self.maybe_free_model_hooks()

    def encode_clip(
        self, clip, clock: video.Clock, lengths: Sequence[float], stride: float | None, crop, lost
    ) -> Iterator[windowing.ClipWindow]:
        """Windows of a clip, divided finely, with faces; those of a crop with the whole picture."""
        if self._before_adapter is not None:  # whoever asks for windows is going to draw
            lora.check_at_work(self.transformer)
        fine = search.divide_finely(self.layout.geometry.samples)
        how: dict[str, Any] = {"clock": clock, "window": lengths, "stride": stride, "lost": lost}
        if crop is None:
            return windowing.encode_windows(clip, fine, beside=windowing.Beside(faces=True), **how)
        beside = windowing.Beside(fine)
        return windowing.encode_windows(clip, self.layout, crop=crop, beside=beside, **how)

    @property
    def reading_weights(self) -> posterior.Weights:
        """The numbers of the reading: the adapter's own, else those of the miniature."""
        return posterior.Weights.from_dict(self.config.reading or {})

    def start_search(
        self, lengths: Sequence[float], drawing: drawings.Drawing, crop: Any = None
    ) -> search.Search:
        """A search for the pulse that draws with this pipeline's models.

        Args:
            lengths: of the windows in s.
            drawing: how.
            crop: of the clip; without one the search looks closer where the pulse is.
        """

        def draw(glances: list[reader.Glance]) -> list[reader.Drawn]:
            return self.draw(glances, drawing)

        weights = self.reading_weights
        return search.Search(self.layout, draw, weights, lengths, anywhere=crop is None)

    def draw(
        self, glances: Sequence[reader.Glance], drawing: drawings.Drawing
    ) -> list[reader.Drawn]:
        """Windows -> tokens of their pictures -> pulse sheets -> what they say."""
        windows = [glance.window for glance in glances]
        motion, references = self.encode_pictures(windows, drawing)
        latents = self.prepare_latents(motion, drawing.ensemble_size, drawing.generator)
        latents = self.denoise(latents, references, drawing)
        sheets = self.decode_sheets(latents, drawing.batch_size)
        return reader.read_sheets(glances, sheets, self.layout.geometry, drawing.keep_sheets)

    def encode_pictures(
        self, windows: Sequence[windowing.ClipWindow], drawing: drawings.Drawing
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of the windows' pictures, where the prompt's embeddings are.

        Returns:
            (motion sheets [windows, N, 4 C], appearance images [windows, M, 4 C]).
        """
        embeds: Any = drawing.prompt_embeds
        geometry, batch_size = self.layout.geometry, drawing.batch_size

        def to_tokens(pictures: Any) -> torch.Tensor:
            images = torch.from_numpy(pictures).movedim(-1, 1) * 2 - 1
            return flux2.encode_images(self.vae, images.to(embeds.device))

        motion, appearance = [], []
        for start in range(0, len(windows), batch_size):
            batch = windows[start : start + batch_size]
            fields = np.stack([window.motion for window in batch])
            motion.append(to_tokens(sheet.motion_sheet(fields, geometry)))
            appearance.append(to_tokens(np.stack([window.appearance for window in batch])))
        return torch.cat(motion), torch.cat(appearance)

    def prepare_latents(self, motion, ensemble_size: int, generator=None):
        """Where the flow starts, [ensemble * windows, N, 4 C], member by member.

        The motion sheets' tokens [windows, N, 4 C], exactly so for one drawing without a generator;
        else with noise of `noise_scale`, drawn at once so that the batch size does not matter.
        """
        latents = motion.repeat(ensemble_size, 1, 1).to(flux2.find_dtype(self.transformer))
        if ensemble_size == 1 and generator is None:
            return latents
        noise = randn_tensor(
            latents.shape, generator=generator, device=latents.device, dtype=torch.float32
        )
        return (latents + self.config.noise_scale * noise).to(latents.dtype)

    def denoise(
        self, latents: torch.Tensor, references: torch.Tensor, drawing: drawings.Drawing
    ) -> torch.Tensor:
        """Run the flow on all latents [ensemble * windows, N, 4 C], batch by batch.

        The scheduler counts its steps, so each run has one of its own.
        """
        layout, size, done = self.layout, drawing.batch_size, []
        ids = flux2.image_ids(layout, flux2.token_size(self.vae))
        drawn_tokens, scheduler = latents.shape[1], copy.deepcopy(self.scheduler)
        call = self._calls.get_own()
        batches = range(0, len(latents), size)
        with self.progress_bar(total=len(batches) * drawing.num_inference_steps) as progress_bar:
            for start in batches:
                batch = latents[start : start + size]
                prompt_embeds: Any = drawing.prompt_embeds
                which = torch.arange(start, start + len(batch)) % len(references)
                context = references[which.to(references.device)]
                timesteps = flux2.set_timesteps(
                    scheduler, drawing.num_inference_steps, drawn_tokens, latents.device
                )
                call.num_timesteps = len(timesteps)
                for step, t in enumerate(timesteps):
                    if call.interrupted:
                        continue
                    call.current_timestep = t
                    with self.transformer.cache_context("cond"):
                        velocity = flux2.predict_velocity(
                            self.transformer, batch, context, prompt_embeds, ids, t / 1000
                        )
                    batch = scheduler.step(velocity, t, batch, return_dict=False)[0]
                    known = {"latents": batch, "prompt_embeds": prompt_embeds}
                    known = drawing.report_step(self, step, t, known)
                    batch, prompt_embeds = known["latents"], known["prompt_embeds"]
                    progress_bar.update()
                done.append(batch)
        call.current_timestep = None
        return torch.cat(done)

    def decode_sheets(self, latents: torch.Tensor, batch_size: int) -> Iterator[torch.Tensor]:
        """Pulse sheets [B, 3, H, W] in [-1, 1] of clean tokens, batch by batch."""
        width, height = self.layout.geometry.size
        kind, half = latents.device.type, latents.dtype != torch.float32
        for batch in latents.split(batch_size):
            with torch.autocast(kind, latents.dtype if half else None, enabled=half):
                images = flux2.decode_tokens(self.vae, batch, height, width)
            yield images.float().cpu().clamp(-1, 1)

    # ------------------------------------------------------------------------------ still pictures

    def decode_sheet(
        self,
        image: PIL.Image.Image | np.ndarray | torch.Tensor,
        spans: outputs.Spans | None = None,
        window: float | None = None,
        stride: float | None = None,
        output_type: str = "np",
    ) -> outputs.PulseOutput:
        """Read pulse sheets that were drawn and saved before, here or by any FLUX.2 tool.

        Args:
            image: PIL image, or array or tensor [H, W, 3] of uint8, uint16 or floats in [0, 1]:
                one sheet of the size of the geometry, or several, one below the other.
            spans: (start, end) in seconds of each sheet; else those that a saved picture brings.
            window: seconds each sheet covers, 5 to 10, without spans; the config's first length.
            stride: seconds from one sheet to the next, without spans; half a window.
            output_type: "np" or "pt".

        Returns:
            [`PulseOutput`]; the crop of its windows is the sheet itself.

        Raises:
            ClipError: (a ValueError) if the picture has another size or is none, or the times are
                none that windows of a clip can have.
            ValueError: for another `output_type`.
        """
        geometry = self.layout.geometry
        form = outputs.Form(self.config.min_confidence, outputs.wants_tensors(output_type))
        length = self.config.default_windows[0]
        pixels, spans = saved.check_sheets(image, geometry, spans, window, stride, length)
        width, height = geometry.size
        windows = [windowing.ClipWindow.blank(start, end, geometry) for start, end in spans]
        images = torch.from_numpy(pixels.reshape(-1, height, width, 3)).float().movedim(-1, 1)
        glances = [reader.Glance(window, search.WHOLE) for window in windows]
        drawn = reader.read_sheets(glances, [images * 2 - 1], geometry, keep_sheets=True)
        span = (min(window.start for window in windows), max(window.end for window in windows))
        read = search.read_drawn(drawn, self.reading_weights, span)
        return outputs.assemble_output(drawn, read, form)
