"""What a wheel must do where it is installed alone: import, steer, the demo with report and figures."""

import subprocess
import sys
from pathlib import Path

import sadi_lens as sl

lens = Path(sys.executable).parent / "sadi-lens"
model, task = sl.load_model("tiny"), sl.load_task("hints")
mask = sl.Mask.from_units("head", [(1, 2), (3, 4)], model)
plain, steered = sl.evaluate(model, task.dev[:10], [None, sl.MaskedScaling(mask, 1.0)])
print(sl.__version__, plain.accuracy, steered.accuracy)  # noqa: T201
assert Path(sl.__file__).is_relative_to(sys.prefix)
assert (Path(sl.__file__).parent / "py.typed").exists()
subprocess.run([lens, "demo", "--out", "demo"], check=True)
subprocess.run([lens, "report", "demo"], check=True)
assert Path("demo/report.html").stat().st_size > 100_000
