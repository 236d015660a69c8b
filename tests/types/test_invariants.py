"""What every result shares."""


def test_every_result_is_equal_part_by_part_also_where_a_number_is_not_known():
    import sadi_lens.types.results as results
    from sadi_lens.types.base import ArrayEq
    from sadi_lens.types.invariants import Consistent
    from sadi_lens.types.stats import Interval

    kinds = [getattr(results, name) for name in results.__all__]
    kinds = [one for one in kinds if isinstance(one, type) and issubclass(one, Consistent)]
    assert len(kinds) > 20
    assert [one.__name__ for one in kinds if one.__eq__ is not ArrayEq.__eq__] == []

    def contrast(low, high=0.1):
        return results.Contrast("a", "b", 0.0, Interval(low, high), 1.0, 1.0, 1)

    assert contrast(float("nan")) == contrast(float("nan"))
    assert contrast(float("nan")) != contrast(0.0)
    assert contrast(0.0) != contrast(0.0, 0.2)
