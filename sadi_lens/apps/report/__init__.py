"""One HTML file that tells what a run asked, found and rests on; made from its results, without a model."""

from sadi_lens.apps.report.build import report_html, write_report
from sadi_lens.apps.report.verdict import Verdict, verdict

__all__ = ["Verdict", "report_html", "verdict", "write_report"]
