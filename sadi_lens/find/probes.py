"""Linear probes on the activations of single units (ITI: Li et al., 2023), on scikit-learn."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from tqdm.auto import tqdm

from sadi_lens.types.checks import checked


@checked()
def probe_accuracy(
    features: Float[np.ndarray, "item d"],
    labels: Sequence[int] | np.ndarray,
    *,
    groups: Sequence[int] | np.ndarray | None = None,
    n_folds: int = 5,
    seed: int = 0,
) -> float:
    """Out-of-fold accuracy of a logistic probe (scikit-learn, its default L2 penalty, values as they are).

    Args:
        features: One row an item.
        labels: 0 or 1 of each item.
        groups: Items that must share a fold (the two texts of a pair); default each its own.
        n_folds: Folds.
        seed: Of the draw of the folds.

    Returns:
        Share of items that are classified right by the probe that was fitted without their fold.

    Raises:
        ValueError: If labels are of one class only (altogether or where a fold trains), there are fewer groups than
            folds, or a feature is NaN or infinite.

    Example:
        >>> import numpy as np
        >>> features = np.array([[-2.0], [-1.5], [-1.0], [1.0], [1.5], [2.0]])
        >>> sl.find.probe_accuracy(features, [0, 0, 0, 1, 1, 1], n_folds=3)
        1.0
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict

    features, labels = np.asarray(features), np.asarray(labels)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    if not len(features) == len(labels) == len(groups):
        raise ValueError(
            f"labels and groups must be one an item of features ({len(features)}), got {len(labels)} and {len(groups)}"
        )
    if not np.isfinite(features).all():
        raise ValueError(
            f"{int((~np.isfinite(features)).sum())} features of the probe are NaN or infinite; "
            "leave those items out or read them in a wider dtype"
        )
    folds = PredefinedSplit(_fold_of(groups, n_folds, seed))
    for held, (train, _) in enumerate(folds.split()):
        classes = np.unique(labels[train])
        if len(classes) < 2:
            raise ValueError(
                f"labels must be of both classes where the probe is fitted, got only {classes.tolist()} in the "
                f"{len(train)} items beside fold {held}; pass more items or fewer n_folds"
            )
    probe = LogisticRegression(max_iter=1000)
    found = np.asarray(cross_val_predict(probe, features, labels, cv=folds))
    return float(np.mean(found == labels))


def _fold_of(groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Fold of every item: groups are drawn, and their items stay together."""
    names = np.unique(groups)
    if len(names) < n_folds:
        raise ValueError(
            f"a probe with {n_folds} folds needs at least {n_folds} pairs (groups), got {len(names)}; pass a "
            "smaller n_folds or more pairs"
        )
    fold_of = np.random.default_rng(seed).permutation(len(names)) % n_folds
    return fold_of[np.searchsorted(names, groups)]


def probe_units(
    right: Float[np.ndarray, "pair layer unit d"],
    wrong: Float[np.ndarray, "pair layer unit d"],
    *,
    n_folds: int,
    seed: int,
    clusters: Int[np.ndarray, " pair"] | None = None,
    progress: bool,
) -> Float[np.ndarray, "layer unit"]:
    """``probe_accuracy`` of every unit: right texts against wrong ones, all of a cluster in the same fold.

    ``clusters`` numbers the cluster of each pair, where some share one (``pair_clusters``).
    """
    from sklearn.exceptions import ConvergenceWarning

    n, n_layers, n_units_, _ = right.shape
    labels, groups = (
        np.repeat([1, 0], n),
        np.tile(np.arange(n) if clusters is None else clusters, 2),
    )
    values = np.empty((n_layers, n_units_), dtype=np.float32)
    stopped = 0
    places = tqdm(np.ndindex(values.shape), total=values.size, desc="probes", disable=not progress)
    for layer, unit in places:
        features = np.concatenate([right[:, layer, unit], wrong[:, layer, unit]])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            values[layer, unit] = probe_accuracy(
                features, labels, groups=groups, n_folds=n_folds, seed=seed
            )
        stopped += any(issubclass(one.category, ConvergenceWarning) for one in caught)
    if stopped:
        warnings.warn(
            f"{stopped} of {values.size} probes did not converge in 1000 iterations; their accuracies may be low",
            stacklevel=3,
        )
    return values
