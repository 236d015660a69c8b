"""kill -9 at random moments of everything that writes; afterwards the old or the new is there, and nothing is wrong.

``python tests/kills.py N`` kills N times and prints the counts (``make kills``: 200). The processes are forked, so that
nothing is imported again. One that hangs is a failure too: it prints its stack.
"""

import faulthandler
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

YAML = {"name": "kills", "tasks": ["hints"], "ks": {"head": [2, 4]}, "strengths": [1.0, 3.0],
        "methods": ["sadi", "random"], "sizes": {"pairs": 12, "dev": 12, "test": 12}, "figures": []}  # fmt: skip
WAYS = ("save", "export_folded", "results", "figures", "run", "demo", "compare")
FOREIGN = {".env": "mine", ".git/HEAD": "ref", "notes.txt": "mine"}
LONGEST = 120.0
"""Seconds for one turn, or for one writer that is not killed: more is a hang."""


def kill_in(work: Callable[[], Any], after: float) -> bool:
    """Run ``work`` in a fork and kill it; whether it was still running."""
    pid = os.fork()
    if not pid:
        _work_and_exit(work)
    end = time.monotonic() + after
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert status == 0, f"the writer failed by itself: {status}"
            return False
        time.sleep(min(0.0005, after))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def _work_and_exit(work: Callable[[], Any]) -> None:
    """In the fork: no output but a traceback, and the stacks where it hangs."""
    errors = os.fdopen(os.dup(2), "w")
    faulthandler.dump_traceback_later(0.9 * LONGEST, file=errors)
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    try:
        work()
    except BaseException:
        traceback.print_exc(file=errors)
        errors.flush()
        os._exit(1)
    os._exit(0)


def _use_own_bar_lock() -> None:
    """Progress bars share a lock between processes by default: whoever is killed with it never gives it back."""
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())
    tqdm.monitor_interval = 0  # no thread that could hold it while we fork


class Kills:
    """The ways to write, each with what must hold after a kill."""

    def __init__(self, folder: Path, names: Sequence[str] = WAYS) -> None:
        import sadi_lens as sl

        self.folder, self.sl = folder, sl
        self.model = sl.load_model("tiny")
        mask = sl.Mask.from_units("head", [(0, 1), (2, 3)], self.model)
        self.interventions = [sl.MaskedScaling(mask, strength) for strength in (1.0, 2.0)]
        self.experiment = sl.apps.Experiment.from_dict(YAML)
        for name, text in FOREIGN.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        self.rows = folder / "few.jsonl"
        self.rows.write_text(few_rows())
        _use_own_bar_lock()
        self.seconds = {name: self._time(name) for name in names}
        self.numbers = {name: self._numbers(name) for name in names}
        for name in names:  # a fork that hangs would be killed each time and prove nothing
            assert not kill_in(lambda name=name: self.write(name, 1), LONGEST), f"{name} hangs"

    def _time(self, name: str) -> float:
        start = time.perf_counter()
        self.write(name, 0)
        return time.perf_counter() - start

    def write(self, name: str, version: int) -> None:
        """Write one of two versions over what is there."""
        import plotly.graph_objects as go

        from sadi_lens.plots import export
        from sadi_lens.types.store import save, write_json

        if name == "save":
            save(
                {"version": version, "mask": self.interventions[version], "big": BIG + version},
                self.folder / "saved",
            )
        elif name == "export_folded":
            self.sl.interventions.export_folded(
                self.model, self.interventions[version], self.folder / "folded", overwrite=True
            )
        elif name == "results":
            write_json(
                {"version": version, "big": BIG[:2000] + version},
                self.folder / "out" / "results.json",
            )
        elif name == "figures":
            figures = {f"f{i}": go.Figure(layout={"title": f"version {version}"}) for i in range(4)}
            export(figures, self.folder / "out" / "figures", png=False)
        elif name == "run":
            self.sl.apps.run_experiment(self.experiment, self.folder / "run", progress=False)
        else:
            self._command(name)

    def _command(self, name: str) -> None:
        from typer.testing import CliRunner

        from sadi_lens.apps.cli import app

        given = {
            "demo": ["--n-null", "20"],
            "compare": ["--n-null", "0", "--budget", "2", "--methods", "sadi-head,random"],
        }
        words = [
            name,
            "--task",
            str(self.rows),
            "--out",
            str(self.folder / name),
            "--no-png",
            *given[name],
        ]
        done = CliRunner().invoke(app, words)
        if done.exit_code:
            raise AssertionError(done.output)

    def _numbers(self, name: str) -> Any:
        """What must come out again after a kill."""
        from sadi_lens.types.store import read_json

        if name == "run":
            return (self.folder / "run" / "results.csv").read_bytes()
        if name in ("demo", "compare"):
            found = read_json(self.folder / name / "results.json")["comparison"]
            return found.frame().drop(columns=["seconds", "choice_seconds"]).to_csv()
        return None

    def check(self, name: str) -> None:
        """The old or the new is there, whole; what is of someone else is as it was."""
        from sadi_lens.types.seals import is_sealed
        from sadi_lens.types.store import load, read_json

        if name == "save":
            found = load(self.folder / "saved")
            assert (found["big"] == BIG + found["version"]).all()
            assert found["mask"] == self.interventions[found["version"]]
        elif name == "export_folded":
            folder = self.folder / "folded"
            from sadi_lens.interventions.folding import _require_place

            _require_place(
                folder, overwrite=True
            )  # every file has the hash that it was written with
            label = json.loads((folder / "config.json").read_text())["sadi_lens"]["folded"]
            assert label in [one.label for one in self.interventions]
        elif name == "results":
            found = read_json(self.folder / "out" / "results.json")
            assert (found["big"] == BIG[:2000] + found["version"]).all()
        elif name == "figures":
            pages = sorted((self.folder / "out" / "figures").glob("f*.html"))
            assert len(pages) == 4
            assert all(map(is_sealed, pages))
        elif name in ("demo", "compare"):
            assert self._numbers(name) == self.numbers[name]
            assert all(map(is_sealed, (self.folder / name / "figures").glob("*.html")))
        for one, text in FOREIGN.items():
            assert (self.folder / one).read_text() == text

    def kill(self, name: str, rng: random.Random) -> str:
        """Kill once at a random moment, check, write to the end, check again."""
        version = rng.randrange(2)
        if name == "run":
            shutil.rmtree(self.folder / "run", ignore_errors=True) if rng.random() < 0.3 else None
        was_running = kill_in(lambda: self.write(name, version), rng.random() * self.seconds[name])
        self.check(name)
        self.write(name, version)
        self.check(name)
        assert self._numbers(name) == self.numbers[name]
        left = list(self.folder.rglob("*.sadi_lens-*"))
        assert not left, left
        return "killed" if was_running else "had finished"


def few_rows() -> str:
    """A task of a few rows, as JSONL."""
    import sadi_lens as sl

    task = sl.load_task("hints")
    rows: list[dict[str, Any]] = [
        {"prompt": one.prompt, "positive": one.positive, "negative": one.negative}
        for one in task.pairs[:6]
    ]
    rows += [
        {"prompt": one.prompt, "choices": one.choices, "answer": one.answer, "split": split}
        for split in ("dev", "test")
        for one in getattr(task, split)[:6]
    ]
    return "".join(f"{json.dumps(row)}\n" for row in rows)


def kill_many(folder: Path, n: int, names: Sequence[str] = WAYS, seed: int = 0) -> Counter[str]:
    """Kill ``n`` times, the ways to write in turn; a loss or a wrong number is an AssertionError."""
    kills, rng = Kills(folder, names), random.Random(seed)
    counts: Counter[str] = Counter()
    for turn in range(n):
        name = names[turn % len(names)]
        faulthandler.dump_traceback_later(LONGEST, exit=True, file=sys.__stderr__)
        counts[f"{name}: {kills.kill(name, rng)}"] += 1
        faulthandler.cancel_dump_traceback_later()
    return counts


def _big() -> Any:
    import numpy as np

    return np.arange(200_000, dtype=np.float32)


BIG = _big()

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        found = kill_many(Path(where), int(sys.argv[1]))
    sys.stdout.write("".join(f"{name} {count}\n" for name, count in sorted(found.items())))
    sys.stdout.write(f"{found.total()} kills: 0 losses, 0 wrong numbers\n")
