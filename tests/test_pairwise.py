"""The cases that run by default hold every pair of values."""

from itertools import combinations

from pairwise import every_pair


def test_every_pair_of_values_runs_by_default_and_nothing_is_lost():
    kinds = [("a", "x"), ("a", "y"), ("b", "x")]
    parameters = every_pair(kinds, [1, 2, 3], ["on", "off"])
    assert len({one.values for one in parameters}) == len(parameters) == 18
    default = [one.values for one in parameters if not one.marks]
    assert len(default) < 12

    def pairs(rows):
        return {pair for row in rows for pair in combinations(enumerate(row), 2)}

    assert pairs(default) == pairs(one.values for one in parameters)
    assert ("b", "y") not in {row[:2] for row in default}
