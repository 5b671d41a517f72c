"""One run of the evaluation: the data that a command line names, measured and summed up.

The rows and what they say are made in lab/evaluation.py; here is chosen what is measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulse_plantain.lab import evaluation, summary
from pulse_plantain.lab.datasets import DATASETS, Recording
from pulse_plantain.lab.measuring import Instruments, check_methods
from pulse_plantain.lab.running import join_processes
from pulse_plantain.lab.sources import choose_subjects
from pulse_plantain.lab.synthetic import SEEDS, render_set
from pulse_plantain.video import ClipError

NAMED = tuple(name for name in DATASETS if name != "synthetic")
"""Data sets that lie in a folder of their own, as NAME:DIR names them."""


@dataclass(frozen=True)
class Data:
    """The recordings that are to be measured.

    Attributes:
        source: "synthetic:SPLIT" (a split of lab.synthetic, as "test" or "camera-test"),
            "folder:DIR" (videos without truth) or NAME:DIR with one of :data:`NAMED`.
        rendering: folder where clips are rendered that are missing.
        splits: splits.json whose test subjects alone are measured; None for all subjects.
        clips: folder of rendered clips; None where they shall be rendered.
        null: folders of clips without a pulse.
        count: clips to render.
    """

    source: str
    rendering: Path
    splits: Path | None = None
    clips: Path | None = None
    null: Sequence[Path] = ()
    count: int = 200

    def __post_init__(self) -> None:
        unknown = self.kind == "synthetic" and self.where not in SEEDS
        if self.kind not in ("folder", *DATASETS) or not self.where or unknown:
            kinds = ", ".join(["synthetic:SPLIT", "folder:DIR", *(f"{n}:DIR" for n in NAMED)])
            raise ClipError(f"--data must be one of {kinds}, got {self.source!r}")

    @property
    def kind(self) -> str:
        """What stands before the colon."""
        return self.source.partition(":")[0]

    @property
    def where(self) -> str:
        """What stands behind the colon: a split or a folder."""
        return self.source.partition(":")[2]

    @property
    def name(self) -> str:
        """What the data are called in results."""
        if self.kind == "folder":
            return Path(self.where).name
        return f"synthetic-{self.where}" if self.kind == "synthetic" else self.kind

    def list_recordings(self) -> list[Recording]:
        """The recordings, rendered where they are missing.

        Raises:
            ClipError: if there are none.
        """
        if self.kind == "folder":
            return evaluation.find_videos(Path(self.where))
        if self.kind == "synthetic":
            clips = self.clips or self._render(pulse=True)
            return evaluation.open_rendered_clips(clips)
        recordings = evaluation.open_recordings(self.kind, Path(self.where))
        return choose_subjects(recordings, self.splits, "test") if self.splits else recordings

    def find_null(self) -> Sequence[Path]:
        """Folders of the clips without a pulse, rendered where the others are."""
        if self.kind != "synthetic" or self.null or self.clips:
            return self.null if self.kind == "synthetic" else ()
        return [self._render(pulse=False)]

    def _render(self, pulse: bool) -> Path:
        """Folder of the rendered clips of the split, finished where it is not."""
        folder = self.rendering / f"synthetic-{self.where}{'' if pulse else '-null'}"
        light, _, split = self.where.rpartition("-")
        light = light or "plain"
        if light == "camera" and not pulse:
            light = "lamp"
        with join_processes().main_process_first():
            render_set(folder, split, self.count, pulse=pulse, light=light)
        return folder


@dataclass(frozen=True)
class Outcome:
    """What an evaluation found.

    Attributes:
        rows: of all recordings by all methods.
        null_rows: of the clips without a pulse.
        figures: of :func:`pulse_plantain.lab.summary.summarise`; None where no rate is known.
        name: what the data are called in results.
    """

    rows: list[evaluation.Row]
    null_rows: list[evaluation.Row]
    figures: dict[str, Any] | None
    name: str

    @property
    def rendered(self) -> int:
        """Recordings that the renderer made."""
        return len({row["recording"] for row in self.rows if row.get("rendered")})

    def to_dict(self) -> dict[str, Any]:
        """What results say of it."""
        return {
            "rendered": self.rendered,
            "figures": self.figures,
            "rows": self.rows,
            "null_rows": self.null_rows,
        }

    def to_text(self) -> str:
        """A Markdown table: a line a method, or a line a row where no rate is known."""
        return (
            summary.format_figures(self.figures) if self.figures else summary.format_rows(self.rows)
        )


def evaluate(data: Data, methods: Sequence[str], instruments: Instruments, seed: int) -> Outcome:
    """Measure data by methods and sum the rows up.

    Clips without a pulse are measured by the pipeline alone, as the other methods never abstain.

    Args:
        data: to be measured.
        methods: of :data:`pulse_plantain.lab.measuring.METHODS`.
        instruments: to measure with.
        seed: of the bootstrap over subjects.

    Raises:
        ClipError: if there is nothing to measure, or a method is unknown.
    """
    check_methods(methods)
    recordings = data.list_recordings()
    name = name_results(data, recordings)
    rows = instruments.measure(name, recordings, methods)
    if data.kind == "folder":
        return Outcome(rows, [], None, name)
    null, null_rows = data.find_null(), []
    if null and evaluation.PULSE in methods:
        recordings = [one for folder in null for one in evaluation.open_rendered_clips(folder)]
        null_rows = instruments.measure(f"{name}-null", recordings, [evaluation.PULSE])
    return Outcome(rows, null_rows, summary.summarise(rows, null_rows, seed), name)


def name_results(data: Data, recordings: Sequence[Recording]) -> str:
    """What results on data are called; rendered recordings never bear a data set's name.

    Args:
        data: that are measured.
        recordings: of the data.

    Raises:
        ClipError: if some of a data set's recordings are rendered, and some are not.
    """
    rendered = sum(recording.rendered for recording in recordings)
    if data.kind not in NAMED or not rendered:
        return data.name
    if rendered < len(recordings):
        raise ClipError(
            f"{data.where}: {rendered} of {len(recordings)} recordings are rendered; keep them "
            f"apart from those of {data.kind}"
        )
    return f"{data.name}-rendered"
