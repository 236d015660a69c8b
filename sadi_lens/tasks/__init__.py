"""Tasks: the embedded ones, published data sets and a user's own."""

from sadi_lens.tasks.benchmarks import BENCHMARKS, load_benchmark, read_benchmark
from sadi_lens.tasks.chat import with_chat_template
from sadi_lens.tasks.contrast import NEGATIVES, balance_pairs, make_pairs
from sadi_lens.tasks.embedded import EMBEDDED_TASKS
from sadi_lens.tasks.loading import load_task
from sadi_lens.tasks.prompts import with_examples
from sadi_lens.tasks.published import published_table
from sadi_lens.tasks.suggest import SuggestItem, suggest_items, suggest_unaided

__all__ = [
    "BENCHMARKS",
    "EMBEDDED_TASKS",
    "NEGATIVES",
    "SuggestItem",
    "balance_pairs",
    "load_benchmark",
    "load_task",
    "make_pairs",
    "published_table",
    "read_benchmark",
    "suggest_items",
    "suggest_unaided",
    "with_chat_template",
    "with_examples",
]
