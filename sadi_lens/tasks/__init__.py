"""Contrastive pairs, dev and test items: the embedded tasks, published data sets and a user's own data.

In: the name of a task, files, data frames or lists of dicts. Out: ``Task``, ``ContrastivePair``, ``Sample``. Touches:
nothing but the files that it is asked to read, and the Hub cache where a published data set is asked for by name.
"""

from sadi_lens.tasks.benchmarks import BENCHMARKS, load_benchmark, read_benchmark
from sadi_lens.tasks.chat import with_chat_template
from sadi_lens.tasks.contrast import NEGATIVES, balance_pairs, make_pairs
from sadi_lens.tasks.embedded import EMBEDDED_TASKS
from sadi_lens.tasks.loading import load_task
from sadi_lens.tasks.prompts import with_examples
from sadi_lens.tasks.published import published_table
from sadi_lens.tasks.suggest import SuggestItem, suggest_items, suggest_unaided
from sadi_lens.tasks.writing import write_task

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
    "write_task",
]
