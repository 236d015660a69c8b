"""A few hundred of the inputs of ``make fuzz``; ``SADI_LENS_FUZZ`` sets how many."""

import os
import warnings

import pytest
from forked import forked


def run(count, report):
    """In a process of its own, which the arguments may leave as they like; without the warning filters of the tests."""
    from fuzz.arguments import fuzz

    warnings.resetwarnings()
    os.chdir(report.parent)
    counts, failures = fuzz(count, seed=0)
    lines = [f"{n} {end}" for end, n in counts.items()]
    lines += [f"{where}: {what}" for where, what in failures.items()]
    report.write_text("\n".join(lines))
    os._exit(bool(failures))


@pytest.mark.slow
@pytest.mark.skipif("SADI_LENS_SHAPES" in os.environ, reason="the shape checker would answer first")
def test_a_bad_argument_is_refused_by_name(tmp_path):
    report = tmp_path / "report"
    child = forked(run, int(os.environ.get("SADI_LENS_FUZZ", "300")), report)
    child.join()
    said = report.read_text() if report.exists() else "it died"
    assert child.exitcode == 0, said[-4000:]
    assert "refused by name" in said
