"""A call of ``evaluate``: its settings and samples; what was kept of it, after Ctrl-C or on disk, to go on from there.

On disk, what a call gave lies in a folder that is named by a hash of everything it was computed from: items,
interventions, settings, weights, versions of the libraries. So the same command again goes on with what is missing, a
changed setting computes anew what depends on it, and nothing is read that another call wrote.
"""

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool

from sadi_lens.engine.intervention import Intervention
from sadi_lens.engine.text import fitting, warn_unknown
from sadi_lens.measure.identity import identity_of
from sadi_lens.measure.picks import joined_picks
from sadi_lens.types.answers import normalise
from sadi_lens.types.base import DEFAULT_POSITION
from sadi_lens.types.checks import as_path, check_value
from sadi_lens.types.data import Sample, clusters_of, items_hash, samples_hash
from sadi_lens.types.encoding import encode
from sadi_lens.types.files import require_parent
from sadi_lens.types.model import HookedModel
from sadi_lens.types.results import Evaluation
from sadi_lens.types.seals import sha256
from sadi_lens.types.store import load, save, versions

T = TypeVar("T")
_FOLDER: ContextVar[Path | None] = ContextVar("journal", default=None)
_SPENT: ContextVar[float] = ContextVar("spent", default=0.0)
"""CPU seconds that what was read from journals had taken to compute."""


@dataclass(frozen=True)
class Settings:
    """How samples are scored; see ``evaluate``."""

    task: str = ""
    position: str = DEFAULT_POSITION
    scoring: str = "sum"
    prepend_bos: bool | None = None
    max_new_tokens: int = 16
    engine: str = "shared"


@dataclass(frozen=True)
class Call:
    """Which interventions are scored on which samples, and how."""

    samples: Sequence[Sample]
    interventions: Sequence[Intervention | None]
    labels: Sequence[str]
    settings: Settings

    def described(self, model: HookedModel) -> dict[str, object]:
        """What must be the same for ``resume``, by the name of the argument; the engine need not."""
        settings = asdict(self.settings)
        del settings["engine"]
        return {
            "samples": samples_hash(self.samples),
            "interventions": described(self.interventions),
            "label": tuple(self.labels),
            **settings,
            **identity_of(model),
        }


def made(make: Callable[..., Intervention], *given: Any) -> Intervention:
    """What a user's function makes, if it is an intervention."""
    return check_value("make(...)", make(*given), Intervention)


class EvaluationInterrupted(KeyboardInterrupt):
    """Ctrl-C during an evaluation. The same call with ``resume=`` this exception runs only what is missing.

    Args:
        partial: One result an intervention, over the items that were finished; where texts are written one intervention
            after the other, those that were finished, over all items.
        done: The items that ``partial`` holds.
        call: What was called, by the name of the argument.
    """

    def __init__(
        self,
        partial: tuple[Evaluation, ...],
        done: Bool[np.ndarray, " item"],
        call: Mapping[str, object],
    ) -> None:
        super().__init__(
            f"interrupted with {partial[0].n if partial else 0} items scored; they are in .partial. evaluate and "
            "sweep go on from there with resume= this exception (in a notebook: sys.last_value)"
        )
        self.partial = partial
        self.done = done
        self.call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.partial, self.done, self.call)

    def require(self, call: Mapping[str, object]) -> None:
        """Refuse to go on with another call."""
        other = [name for name, value in call.items() if self.call[name] != value]
        if other:
            raise ValueError(
                f"resume was interrupted in another call: {', '.join(other)} differ. Call it as it was called, or "
                "leave resume out"
            )


@contextmanager
def journal(folder: str | Path | None) -> Generator[None]:
    """Inside, what every step of ``compare``, ``evaluate`` and ``sweep`` gives is kept, and read where it was before.

    So the same cell of a notebook goes on where the kernel died; what depends on a changed setting, item or weight is
    computed anew.

    Args:
        folder: Made at the first step. None: nothing is kept and nothing read.

    Raises:
        TypeError: If it is no path.
        OSError: If it cannot be written.

    Example:
        >>> for _ in range(2):  # the second time it is read
        ...     with sl.measure.journal(folder):
        ...         found = sl.evaluate(model, task.dev[:8], progress=False)
    """
    if folder is not None:
        folder = as_path("folder", folder)
        require_parent(folder / "step")
    before = _FOLDER.set(folder)
    try:
        yield
    finally:
        _FOLDER.reset(before)


def cpu_seconds() -> float:
    """As ``time.process_time``, as if everything that was read from a journal had been computed now."""
    return time.process_time() + _SPENT.get()


def kept(what: str, call: Callable[[], Any], compute: Callable[[], T]) -> T:
    """What ``compute`` gives, or gave before; computed anyway where there is no journal.

    Args:
        what: In words, for the name of the folder.
        call: Gives all that the result depends on; of types that ``sadi_lens.save`` knows, otherwise nothing is kept.
        compute: Computes it.

    Raises:
        ValueError: If what is there is damaged; the folder is named.
    """
    folder = _FOLDER.get()
    if folder is None:
        return compute()
    arrays: dict[str, np.ndarray] = {}
    try:
        values = encode({"call": call(), "versions": versions(), "seconds": True}, "call", arrays)
    except TypeError:  # an intervention of a class from elsewhere
        return compute()
    numbers = b"".join(one.tobytes() for one in arrays.values())
    digest = sha256(json.dumps(values, sort_keys=True).encode() + numbers)
    place = folder / f"{what.replace(' ', '-')}-{digest[:16]}"
    if place.exists():
        found, seconds = load(place)
        _SPENT.set(_SPENT.get() + seconds)
        return found
    started = cpu_seconds()
    found = compute()
    try:
        save((found, cpu_seconds() - started), place)
    except FileExistsError:  # another process was first with the same step; anything else is named
        load(place)
    return found


def described(interventions: Sequence[Intervention | None]) -> tuple[object, ...]:
    """Interventions in a form that can be compared; of classes defined elsewhere, type, label, component and layers."""
    return tuple(
        one
        if one is None or type(one).__module__.startswith("sadi_lens.")
        else (type(one), one.label, one.component, tuple(one.layers))
        for one in interventions
    )


def joined(
    done: Bool[np.ndarray, " item"], one: Evaluation, two: Evaluation, samples: Sequence[Sample]
) -> Evaluation:
    """Results of some items and of the others as one, in the order of the samples.

    Args:
        done: The items of ``one``; ``two`` has the rest.
        one: The first part.
        two: The second.
        samples: All of them.
    """
    order = np.argsort(np.concatenate([np.flatnonzero(done), np.flatnonzero(~done)]))
    wide = max(one.choice_scores.shape[1], two.choice_scores.shape[1])

    def padded(scores: np.ndarray) -> np.ndarray:
        room = wide - scores.shape[1]
        return np.pad(scores, ((0, 0), (0, room)), constant_values=np.nan)

    correct, margins, valid, scores = (
        np.concatenate(parts)[order]
        for parts in (
            (one.correct, two.correct),
            (one.margins, two.margins),
            (one.valid, two.valid),
            (padded(one.choice_scores), padded(two.choice_scores)),
        )
    )
    clusters = clusters_of(samples)
    groups = tuple(sample.group or "" for sample in samples) if one.groups or two.groups else ()
    return replace(
        one,
        correct=correct,
        margins=margins,
        valid=valid,
        choice_scores=scores,
        items=items_hash(samples),
        clusters=clusters,
        groups=groups,
        texts=tuple(np.array([*one.texts, *two.texts], dtype=object)[order]) if one.texts else (),
        picks=one.picks and two.picks and joined_picks(one.picks, two.picks, order),
    )


def fitting_samples(
    model: HookedModel, samples: Sequence[Sample], settings: Settings, *, too_long: str | None
) -> Sequence[Sample]:
    """The samples that fit the context; words that the model does not know are warned about."""
    is_scored = settings.scoring != "generation"
    items = [((one.prompt,), one.choices if is_scored else ()) for one in samples]
    is_continued = bool(samples) and not items[0][1]
    room = settings.max_new_tokens if is_continued and settings.scoring != "teacher_forced" else 0
    options: dict[str, Any] = {"too_long": too_long, "prepend_bos": settings.prepend_bos}
    rows = fitting(model, items, "samples", room=room, **options)
    warn_unknown(model, [[one.prompt + end for end in one.choices or ("",)] for one in samples])
    return samples if len(rows) == len(samples) else [samples[row] for row in rows]


def are_texts(samples: Sequence[Sample]) -> bool:
    """Whether all samples have a target; refused where there is none, or some have choices."""
    if not samples:
        raise ValueError("samples must hold at least 1 item, got 0")
    if len({sample.target is not None for sample in samples}) > 1:
        raise ValueError("samples must all have choices or all have a target, got both kinds")
    return samples[0].target is not None


def require_told_apart(samples: Sequence[Sample], scoring: str) -> None:
    """Refuse a right and a wrong choice that are one text once an answer is compared (``normalise``).

    Raises:
        ValueError: If ``scoring`` compares texts, and some item has two such choices.
    """
    if scoring not in ("generation", "teacher_forced"):
        return
    for row, one in enumerate(samples):
        texts = [normalise(choice) for choice in one.choices]
        for wrong in one.wrong if one.choices else ():
            same = [
                at for at, text in enumerate(texts) if at not in one.wrong and text == texts[wrong]
            ]
            if same:
                raise ValueError(
                    f"choices {one.choices[same[0]]!r} (right) and {one.choices[wrong]!r} (wrong) of samples[{row}] "
                    "are the same answer without case, punctuation and articles, as "
                    f"scoring={scoring!r} compares them; use scoring='sum', or other choices"
                )


def split_of(samples: Sequence[Sample]) -> str:
    """The samples' common split; ``"mixed"`` if they differ, ``"unknown"`` if none is recorded."""
    splits = {sample.split for sample in samples}
    if len(splits) > 1:
        return "mixed"
    return splits.pop() or "unknown"


def chance_of(samples: Sequence[Sample]) -> float:
    """Accuracy of guessing among the right choice and the wrong ones; NaN for free text."""
    if any(sample.target is not None for sample in samples):
        return float("nan")
    return float(np.mean([1 / (1 + len(sample.wrong)) for sample in samples]))
