"""Loads the endpoint: 100 requests at once and 300 in a row, against serve.py on this machine.

Every answer must be the one that the same request gets alone, no file may be left, and memory must
come back: it is judged when the requests have ended.
"""

import argparse
import base64
import gc
import io
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]

DEMO = ROOT / "assets" / "demo.mp4"
FACE = {"crop": [80, 60, 186, 200], "window": 8, "output": "json"}
SMALL_FACE = {"crop": [32, 24, 74, 80], "window": 8, "output": "json"}
"""The face of the bundled clip and of its contact sheet, with a margin."""

MOST_GROWTH_MB = 50
"""MB by which the process, server and clients, may be larger when the requests have ended. What 300
requests send is some 150 MB: where it stayed, it would be seen."""


@dataclass(frozen=True)
class Kind:
    """A request and what must come back.

    Attributes:
        name: of the kind.
        body: JSON to send.
        status: of the right answer.
        bpm: rate of the right answer; None where there is none.
        tolerance: of the rate, in bpm.
    """

    name: str
    body: dict[str, Any]
    status: int = 200
    bpm: float | None = None
    tolerance: float = 3.0

    def ask(self, url: str) -> tuple[int, Any]:
        """(status, JSON) of an answer."""
        answer = httpx.post(url, json=self.body, timeout=600)
        return answer.status_code, answer.json()

    def is_right(self, status: int, answer: Any) -> bool:
        """Whether an answer has the status and the rate that it must have."""
        if status != self.status or self.bpm is None:
            return status == self.status
        return answer["bpm"] is not None and abs(answer["bpm"] - self.bpm) <= self.tolerance


def make_requests(pipe: Any) -> list[Kind]:
    """One request of each kind: a clip, a contact sheet, a pulse sheet and a broken file.

    Args:
        pipe: that the endpoint serves; draws the pulse sheet.
    """
    truth = json.loads(DEMO.with_suffix(".json").read_text())["bpm"]
    drawn = pipe(str(DEMO), crop=FACE["crop"], window=8, stride=8, output_sheet=True)
    width, height = pipe.geometry.size
    file = io.BytesIO()
    drawn.sheet_image().crop((0, 0, width, height)).save(file, "PNG")
    texts = {
        "clip": DEMO.read_bytes(),
        "contact sheet": (ROOT / "assets" / "contact-sheet.png").read_bytes(),
        "pulse sheet": file.getvalue(),
        "broken": DEMO.read_bytes()[:999],
    }
    named = {name: {"video": base64.b64encode(content).decode()} for name, content in texts.items()}
    return [
        Kind("clip", {"inputs": named["clip"], "parameters": FACE}, bpm=truth),
        Kind("sheet", {"inputs": named["contact sheet"], "parameters": SMALL_FACE}, bpm=truth),
        Kind(
            "pulse sheet",
            {"inputs": named["pulse sheet"], "parameters": {"window": 8, "output": "json"}},
            bpm=truth,
        ),
        Kind("broken", {"inputs": named["broken"], "parameters": FACE}, status=400),
    ]


def read_memory() -> float:
    """Resident memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def start_server(endpoint: Any) -> tuple[Any, str]:
    """(server, address) of serve.py in a thread of this process."""
    import uvicorn

    import serve

    serve.app.state.endpoint = endpoint
    server = uvicorn.Server(uvicorn.Config(serve.app, port=0, log_level="error"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    (port,) = {s.getsockname()[1] for one in server.servers for s in one.sockets}
    return server, f"http://127.0.0.1:{port}"


def load(url: str, kinds: Sequence[Kind], count: int, at_once: int) -> dict[str, Any]:
    """Ask ``count`` times, the kinds in turn, and compare every answer with the one asked alone.

    Memory is read before, after the last answer, and "settled": when what the clients left has been
    collected and each kind has been asked once more, alone.
    """
    wanted = [kind.ask(url) for kind in kinds]
    right = [kind.is_right(*its) for kind, its in zip(kinds, wanted, strict=True)]
    before, started = read_memory(), time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        same = list(
            pool.map(
                lambda number: kinds[number % len(kinds)].ask(url) == wanted[number % len(kinds)],
                range(count),
            )
        )
    seconds, after = time.monotonic() - started, read_memory()
    gc.collect()
    for kind in kinds:
        kind.ask(url)
    return {
        "requests": count,
        "at_once": at_once,
        "kinds": {kind.name: fine for kind, fine in zip(kinds, right, strict=True)},
        "answers_as_alone": sum(same),
        "seconds": round(seconds, 1),
        "memory_before_mb": round(before),
        "memory_after_mb": round(after),
        "memory_settled_mb": round(read_memory()),
    }


def find_faults(runs: Sequence[dict[str, Any]], left: int) -> list[str]:
    """What a load shows to be wrong, a line each.

    Args:
        runs: of :func:`load`.
        left: files that were left behind.
    """
    faults = [f"{left} files were left"] if left else []
    for run in runs:
        name = f"{run['requests']} requests, {run['at_once']} at once"
        faults += [
            f"{name}: the {kind} was wrong" for kind, fine in run["kinds"].items() if not fine
        ]
        if run["answers_as_alone"] != run["requests"]:
            faults.append(f"{name}: only {run['answers_as_alone']} answers as alone")
        growth = run["memory_settled_mb"] - run["memory_before_mb"]
        if growth > MOST_GROWTH_MB:
            faults.append(
                f"{name}: {growth} MB did not come back, at most {MOST_GROWTH_MB} may stay"
            )
    return faults


def main(argv: list[str] | None = None) -> int:
    """Load, write and print; 1 where :func:`find_faults` finds one."""
    from handler import EndpointHandler
    from pulse_plantain.lab.running import describe_command, write_result
    from pulse_plantain.lab.training import describe_run

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--at-once", type=int, default=100, help="requests in parallel")
    parser.add_argument("--in-a-row", type=int, default=300, help="requests one after the other")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "load.json")
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        endpoint = EndpointHandler(str(ROOT))
        server, url = start_server(endpoint)
        kinds = make_requests(endpoint.pipe)
        runs = [
            load(url, kinds, args.in_a_row, 1),
            load(url, kinds, args.at_once, args.at_once),
        ]
        server.should_exit = True
        left = len(list(Path(folder).iterdir()))
    tempfile.tempdir = None
    result = describe_run(0) | {"command": describe_command("load_test.py", argv, ROOT)}
    result |= {"runs": runs, "files_left": left, "most_growth_mb": MOST_GROWTH_MB}
    write_result(args.out, result)
    print(json.dumps(runs, indent=1))
    faults = find_faults(runs, left)
    print("\n".join(faults) or "all answers right, no file left, memory given back")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
