"""Recordings measured by every method, shared out among processes and kept as they are finished.

A finished row is kept in a file whose name changes with all that the row depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pulse_plantain.lab import baselines, evaluation, networks
from pulse_plantain.lab.datasets import Recording
from pulse_plantain.lab.evaluation import Models, Row
from pulse_plantain.lab.imports import follow_imports
from pulse_plantain.lab.kept import fingerprint
from pulse_plantain.lab.running import join_processes
from pulse_plantain.video import ClipError

if TYPE_CHECKING:
    from pulse_plantain.output import PulseOutput

SHARED_ROOMS = (
    "pulse_plantain.heart_rate",
    "pulse_plantain.video",
    "pulse_plantain.lab.datasets",
    "pulse_plantain.lab.metrics",
)
"""What the rows of every method depend on, besides lab/evaluation.py."""

METHODS = (evaluation.PULSE, *baselines.METHODS, *networks.NETWORKS)
"""Names of all methods: the pipeline, the classical ones and the networks."""


def check_methods(names: Iterable[str]) -> None:
    """Refuse a name that is none of :data:`METHODS`.

    Raises:
        ClipError: with the first unknown name and the known ones.
    """
    unknown = set(names) - set(METHODS)
    if unknown:
        raise ClipError(f"unknown method {min(unknown)!r}; there are {', '.join(METHODS)}")


@dataclass(frozen=True)
class Instruments:
    """What recordings are measured with, and where finished rows are kept.

    Attributes:
        model: pipeline folder or Hub id.
        adapter: adapter folder or Hub id.
        cache: folder of the finished rows.
        networks: folder of the trained networks, NAME.safetensors; None where none is measured.
    """

    model: str
    adapter: str
    cache: Path
    networks: Path | None = None

    def load_pipe(self) -> Callable[..., PulseOutput]:
        """The pipeline on this process's device, loaded when it is first asked for."""
        return self._pipe

    @cached_property
    def _pipe(self) -> Any:
        from pulse_plantain.loading import load_pipeline

        return load_pipeline(self.model, self.adapter, join_processes().device)

    def measure(
        self, name: str, recordings: Sequence[Recording], methods: Sequence[str]
    ) -> list[Row]:
        """Rows of all recordings by some methods; those that are kept are not measured again.

        Each of the processes that were launched together measures its share of the recordings;
        all of them get all rows.

        Args:
            name: of the data, for the names of the files in the cache.
            recordings: to be measured.
            methods: of :data:`METHODS`.

        Returns:
            rows of :func:`pulse_plantain.lab.evaluation.measure_all`.

        Raises:
            ClipError: if a network's file is missing or is none.
        """
        loaded = {
            method: networks.load_network(self._find_network(method))
            for method in methods
            if method in networks.NETWORKS
        }
        files = self.name_cache_files(name, [recording.path for recording in recordings], methods)
        state = join_processes()
        mine = recordings[state.process_index :: state.num_processes]
        models = Models(self.load_pipe, loaded)
        evaluation.measure_all(mine, methods, models, files, progress=state.is_main_process)
        state.wait_for_everyone()
        return evaluation.measure_all(recordings, methods, models, files, progress=False)

    def name_cache_files(
        self, name: str, clips: Iterable[Path], methods: Iterable[str]
    ) -> dict[str, Path]:
        """The JSON-lines file of each method, another one whenever code, weights or clips change.

        Args:
            name: of the data.
            clips: files of the recordings; name and size stand for the content.
            methods: of :data:`METHODS`.
        """
        stamps = [(path.name, path.stat().st_size) for path in sorted(clips)]
        files = {}
        for method in methods:
            words = (self.model, self.adapter) if method == evaluation.PULSE else ()
            key = fingerprint(self._list_grounds(method), stamps, *words)
            files[method] = self.cache / f"{name}-{method}-{key}.jsonl"
        return files

    def _list_grounds(self, method: str) -> list[Path]:
        """Files and folders that a method's rows depend on, besides the clips."""
        shared = [Path(evaluation.__file__)]  # imports what all methods need: not followed
        shared += follow_imports(*SHARED_ROOMS)
        if method == evaluation.PULSE:
            weights = [Path(name) for name in (self.model, self.adapter) if Path(name).exists()]
            return [*shared, *follow_imports("pulse_plantain.loading"), *weights]
        if method in networks.NETWORKS:
            return [*shared, *follow_imports(networks.__name__), self._find_network(method)]
        return [*shared, *follow_imports(baselines.__name__)]

    def _find_network(self, method: str) -> Path:
        """The file of a trained network's weights."""
        if self.networks is None:
            raise ClipError(f"{method} needs the folder of the trained networks")
        return self.networks / f"{method}.safetensors"
