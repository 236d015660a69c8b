"""Finished calls on disk: read again when everything is the same, computed anew when anything is not."""

import pytest


@pytest.fixture
def counted(monkeypatch):
    """How often items were really scored."""
    import sadi_lens.measure.evaluation as module

    calls = []
    real = module._by_choices

    def counting(*args):
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(module, "_by_choices", counting)
    return calls


def test_the_same_call_is_read_and_any_other_computed(
    llama, samples, differences, counted, tmp_path
):
    import sadi_lens as sl
    from sadi_lens.measure.calls import journal

    sadi = sl.MaskedScaling(sl.top_k_mask(differences["head"], 2), 2.0)
    with journal(tmp_path):
        first = sl.evaluate(llama, samples, [None, sadi], progress=False)
        again = sl.evaluate(llama, samples, [None, sadi], progress=False)
        assert again == first
        assert len(counted) == 1
        stronger = sl.MaskedScaling(sadi.mask, 2.5)
        for other in (
            {"intervention": [None, stronger]},
            {"intervention": [None, sadi], "position": "every_step"},
            {"intervention": [None, sadi], "scoring": "per_token"},
            {"samples": samples[1:], "intervention": [None, sadi]},
        ):
            before = len(counted)
            sl.evaluate(llama, progress=False, **{"samples": samples, **other})
            assert len(counted) == before + 1
    before = len(counted)
    assert sl.evaluate(llama, samples, [None, sadi], progress=False) == first
    assert len(counted) == before + 1  # outside nothing is read


def test_what_items_share_and_are_called_is_part_of_the_call(llama, samples, counted, tmp_path):
    from dataclasses import replace

    import sadi_lens as sl
    from sadi_lens.measure.calls import journal
    from sadi_lens.types.chat_prompt import ChatPrompt

    def changed(**values):
        return [replace(one, **values) for one in samples]

    chat = [replace(one, prompt=ChatPrompt(one.prompt)) for one in samples]
    with journal(tmp_path):
        plain = sl.evaluate(llama, samples, progress=False)
        shared = sl.evaluate(llama, changed(cluster="a"), progress=False)
        grouped = sl.evaluate(llama, changed(group="g"), progress=False)
        test = sl.evaluate(llama, changed(split="test"), progress=False)
        before = len(counted)
        sl.evaluate(llama, chat, progress=False)
        assert len(counted) == before + 1
    assert plain.clusters is None
    assert shared.clusters.tolist() == [0] * len(samples)
    assert grouped.groups == ("g",) * len(samples)
    assert (plain.split, test.split) == ("dev", "test")
    assert plain.items == shared.items  # the same items still pair


def test_other_weights_and_other_versions_compute_anew(
    llama, samples, counted, tmp_path, monkeypatch
):
    import torch

    import sadi_lens as sl
    from sadi_lens.measure.calls import journal

    with journal(tmp_path):
        first = sl.evaluate(llama, samples, progress=False)
        monkeypatch.setattr("sadi_lens.measure.calls.versions", lambda: {"sadi_lens": "9"})
        sl.evaluate(llama, samples, progress=False)
        assert len(counted) == 2
        weight = llama.raw_model.lm_head.weight
        kept = weight.detach().clone()
        with torch.no_grad():
            weight.mul_(1.5)
        try:
            changed = sl.evaluate(llama, samples, progress=False)
        finally:
            with torch.no_grad():
                weight.copy_(kept)
        assert len(counted) == 3
        assert changed.margins.tolist() != first.margins.tolist()


def test_another_tokenizer_or_configuration_computes_anew(llama, samples, counted, tmp_path):
    """Their numbers came back as those of a model of the same weights that reads or computes otherwise."""
    import copy

    import sadi_lens as sl
    from sadi_lens.measure.calls import EvaluationInterrupted, journal

    def loaded(**changes):
        raw = copy.deepcopy(llama.raw_model)
        for name, value in changes.items():
            setattr(raw.config, name, value)
        return sl.load_model(raw, tokenizer=llama.tokenizer, self_check=False)

    other = loaded()
    other.tokenizer.bos_token = None  # and so none is put before a text
    other.tokenizer.backend_tokenizer.post_processor = None
    with journal(tmp_path):
        first = sl.evaluate(llama, samples, progress=False)
        for number, model in enumerate((loaded(), other, loaded(rms_norm_eps=0.5)), 1):
            sl.evaluate(model, samples, progress=False)
            assert len(counted) == number
        changed = sl.evaluate(other, samples, progress=False)
    assert changed.margins.tolist() != first.margins.tolist()
    call = {"samples": 0, "tokenizer": "a"}
    with pytest.raises(ValueError, match=r"in another call: tokenizer differ"):
        EvaluationInterrupted((), None, call).require({**call, "tokenizer": "b"})


@pytest.mark.parametrize("is_fast", [True, False])
def test_how_a_tokenizer_was_called_is_no_part_of_what_it_is(llama, monkeypatch, is_fast):
    from sadi_lens.measure.identity import reading_of
    from sadi_lens.types.model import Kept

    if not is_fast:
        monkeypatch.setattr(type(llama.tokenizer), "backend_tokenizer", None)
    monkeypatch.setattr(Kept.of(llama), "tokenizer", None)
    first = reading_of(llama)
    llama.tokenizer(["the", "the ball"], padding=True, truncation=True, max_length=2)
    Kept.of(llama).tokenizer = None
    assert reading_of(llama) == first
    monkeypatch.setattr(llama.tokenizer, "chat_template", "{{ messages[0].content }}")
    assert reading_of(llama)["tokenizer"] != first["tokenizer"]  # a run renders its tasks itself


def test_a_rule_replaced_in_place_is_another_tokenizer_also_where_it_is_written_in_python(llama):
    from tokenizers import normalizers

    from sadi_lens.measure.identity import reading_of
    from sadi_lens.types.model import Kept

    class Lower:
        def normalize(self, text):
            text.lowercase()

    backend, first = llama.tokenizer.backend_tokenizer, reading_of(llama)
    was = backend.normalizer
    try:
        backend.normalizer = normalizers.Lowercase()
        assert reading_of(llama)["tokenizer"] != first["tokenizer"]
        backend.normalizer = normalizers.Normalizer.custom(Lower())
        of_python = reading_of(llama)
        Kept.of(llama).tokenizer = None
        assert reading_of(llama) == of_python != first
    finally:
        backend.normalizer = was
    assert reading_of(llama) == first


def test_an_interrupted_call_leaves_nothing_and_a_damaged_one_is_named(
    tmp_path,
):
    from sadi_lens.measure.calls import journal, kept

    def stopped():
        raise KeyboardInterrupt

    with journal(tmp_path):
        with pytest.raises(KeyboardInterrupt):
            kept("a call", lambda: {"x": 1}, stopped)
        assert not list(tmp_path.iterdir())
        assert kept("a call", lambda: {"x": 1}, lambda: 5) == 5
        assert kept("a call", lambda: {"x": 1}, stopped) == 5
        (folder,) = tmp_path.iterdir()
        (folder / "config.json").write_text("{}")
        with pytest.raises(ValueError, match="a-call"):
            kept("a call", lambda: {"x": 1}, stopped)


def test_what_cannot_be_saved_is_computed_every_time(tmp_path):
    from sadi_lens.measure.calls import journal, kept

    with journal(tmp_path):
        assert [kept("it", lambda: object(), lambda n=n: n) for n in (1, 2)] == [1, 2]
    assert not list(tmp_path.iterdir())


def test_what_is_read_counts_the_seconds_that_it_took(tmp_path, monkeypatch):
    from sadi_lens.measure import calls

    clock = [0.0]
    monkeypatch.setattr(calls.time, "process_time", lambda: clock[0])

    def takes(seconds, result=None):
        clock[0] += seconds
        return result() if result else seconds

    def both():
        return calls.kept("outer", lambda: 1, lambda: takes(5.0, inner))

    def inner():
        return calls.kept("inner", lambda: 2, lambda: takes(2.0))

    with calls.journal(tmp_path):
        # 2; then 5 and the 2 of what is read inside; then all of it is read
        for call, seconds in ((inner, 2.0), (both, 7.0), (both, 7.0)):
            started = calls.cpu_seconds()
            assert call() == 2.0
            assert calls.cpu_seconds() - started == pytest.approx(seconds)
    assert clock[0] == 7.0


def test_a_journal_needs_a_place_where_it_can_write(tmp_path):
    import sadi_lens as sl

    (tmp_path / "mine").write_text("mine")
    with (
        pytest.raises(NotADirectoryError, match="mine is not a folder"),
        sl.measure.journal(str(tmp_path / "mine")),
    ):
        pass
    with pytest.raises(TypeError, match="folder must be a path, got 5"), sl.measure.journal(5):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("is_foreign", [False, True])
def test_a_step_that_another_process_has_finished_meanwhile_is_the_same(
    is_foreign, tmp_path, monkeypatch
):
    """Both found none and saved; the second command in the same folder broke off."""
    from sadi_lens.measure import calls
    from sadi_lens.types import store

    def step(value):
        return calls.kept("step", lambda: {"of": 1}, lambda: value)

    first = store._write_first

    def other(path, *rest):
        if is_foreign:
            path.mkdir(parents=True)
            (path / "mine.txt").write_text("mine")
        else:
            first(path, *rest)
        first(path, *rest)

    monkeypatch.setattr(store, "_write_first", other)
    with calls.journal(tmp_path):
        if is_foreign:
            with pytest.raises((ValueError, OSError), match="step-"):
                step(3)
            assert next(tmp_path.glob("*/mine.txt")).read_text() == "mine"
        else:
            assert (step(3), step(4)) == (3, 3)
