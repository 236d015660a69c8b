"""Hand-made results of any size, and every figure drawn from them."""

from functools import cache, partial

import numpy as np

SHAPES = {
    # layers, heads, d_head, d_model, d_mlp, items, tokens, K of the neuron mask
    "tiny": (5, 16, 8, 128, 320, 80, 12, 12),
    "7b": (32, 32, 128, 4096, 11008, 500, 200, 500),
}
UNSAFE = "<script>alert(1)</script> $x$ & <b>bold</b>"


def info(size="tiny"):
    import sadi_lens as sl

    n_layers, n_heads, d_head, d_model, d_mlp, *_ = SHAPES[size]
    name = "tiny" if size == "tiny" else "meta-llama/Llama-2-7b-chat-hf"
    return sl.types.ModelInfo(
        name, "Llama", n_layers, n_heads, d_head, d_model, d_mlp, "0123456789abcdef"
    )


@cache
def differences(component="head", size="tiny", task="hints"):
    """Heavy-tailed, a few layers much wider than others."""
    import sadi_lens as sl
    from sadi_lens.types.model import n_units

    rng = np.random.default_rng(1)
    shape = (SHAPES[size][0], n_units(info(size), component))
    scale = 0.02 * (1 + 2 * np.exp(-((np.arange(shape[0]) - 0.6 * shape[0]) ** 2) / shape[0]))
    mean = (rng.standard_t(4, shape) * scale[:, None]).astype(np.float32)
    mean.flat[rng.integers(mean.size)] = 14 * scale.max()
    std = (rng.uniform(0.1, 0.5, shape)).astype(np.float32)
    one = np.zeros((*shape, 1), dtype=np.float32)
    return sl.types.ActivationDifferences(
        component, info(size), 150, mean, std, one, one, np.ones(shape, np.float32), task
    )


@cache
def masks(size="tiny"):
    import sadi_lens as sl

    return {
        name: sl.top_k_mask(differences(name, size), k)
        for name, k in (("head", 6), ("hidden", 20), ("neuron", SHAPES[size][-1]))
    }


def task_masks(size="tiny", k=12):
    """Masks of several tasks on the same heads, some alike."""
    import sadi_lens as sl

    first = differences("head", size)
    rng = np.random.default_rng(2)
    found = {}
    for name, noise in (
        ("hints", 0),
        ("reviews", 0.5),
        ("replies", 2),
        ("a task with a long name", 5),
    ):
        mean = first.mean + noise * first.mean.std() * rng.standard_normal(first.mean.shape)
        other = sl.types.ActivationDifferences(
            **{**vars(first), "mean": mean.astype(np.float32), "task": name}
        )
        found[name] = sl.top_k_mask(other, k)
    found["random"] = sl.random_mask(first, k, seed=0)
    return found


@cache
def unit_differences(size="tiny", m=8):
    from sadi_lens.types.differences import UnitDifferences

    rng = np.random.default_rng(3)
    n_layers, n_heads, *_ = SHAPES[size]
    places = rng.choice(n_layers * n_heads, m, replace=False)
    units = tuple((int(p) // n_heads, int(p) % n_heads) for p in places)
    values = rng.normal(rng.normal(0, 0.05, m), 0.1, (150, m)).astype(np.float32)
    return UnitDifferences("head", info(size), units, values, "hints")


def unit_activations(size="tiny"):
    from sadi_lens.types.results import UnitActivations

    rng = np.random.default_rng(4)
    one = unit_differences(size)
    negative = rng.normal(0, 0.1, one.values.shape).astype(np.float32)
    return UnitActivations("head", info(size), one.units, negative + one.values, negative, "hints")


@cache
def sign_flip_null(size="tiny", component="head"):
    from sadi_lens.types.results import SignFlipNull

    largest = float(differences(component, size).mean.max())
    maxima = np.random.default_rng(5).normal(0.5 * largest, 0.05 * largest, 200)
    return SignFlipNull(component, info(size), 150, maxima.astype(np.float32), "hints")


def sweep(size="tiny"):
    import sadi_lens as sl

    ks = (1, 2, 4, 6, 8, 10)
    strengths = tuple(float(s) for s in (range(5, 85, 5) if size == "7b" else (1, 2, 5, 10, 20)))
    k, s = np.meshgrid(ks, strengths, indexing="ij")
    dose = k * s / (k * s).max()
    accuracy = 0.62 + 0.5 * dose - 1.3 * np.maximum(dose - 0.25, 0)
    accuracy = accuracy + np.random.default_rng(6).normal(0, 0.012, accuracy.shape)
    accuracy = np.clip(accuracy, 0.2, 1).astype(np.float32)
    return sl.types.Sweep(
        "head", "signed", "scaling", info(size), "hints", "dev", "last_prompt", 200, ks, strengths,
        accuracy, accuracy * 2, np.clip(1.2 - dose, 0, 1).astype(np.float32), 0.64, 0.1, 0.5, 1.0,
    )  # fmt: skip


@cache
def comparison(size="tiny", accuracies=(0.731, 0.914, 0.992, 0.722, 0.533, 0.728), valid=1.0):
    """As a demo gives it: two adaptive rows, each with its null, and three fixed ones."""
    import sadi_lens as sl
    from sadi_lens.types.results import MethodRow
    from sadi_lens.types.stats import Interval

    rng = np.random.default_rng(12)
    n, base = SHAPES[size][5] * 4, accuracies[0]
    bands, rows = [], []
    for (label, kind), accuracy in zip(
        (
            ("unsteered", "unsteered"),
            ("SADI head (signed ranking)", "adaptive"),
            ("SADI head (effect ranking)", "adaptive"),
            ("fixed, same mask, same coefficient", "fixed"),
            ("fixed, same mask, same norm", "fixed"),
            ("fixed, K and strength chosen on dev", "fixed"),
        ),
        accuracies,
        strict=True,
    ):
        more, null = {}, None
        if kind == "adaptive":
            draws = np.clip(rng.normal(base - 0.05, 0.15, 200), 0, 1).round(3)
            null = sl.types.NullBand(
                f"null {label}", 10, 5.0, False, draws, 3 * draws - 2 + rng.normal(0, 0.2, 200)
            )
            bands.append(null)
            more = {"null": null.label, "null_p": null.p_value(accuracy)}
        error = 1.96 * (accuracy * (1 - accuracy) / n) ** 0.5
        rows.append(
            MethodRow(
                label, accuracy, Interval(accuracy - error, min(1, accuracy + error)), accuracy - base,
                Interval(accuracy - base - error, accuracy - base + error), 0.01, 3 * accuracy - 2.1,
                valid if kind == "adaptive" else 0.97, kind=kind, settings="K 10, strength 5" if rows else "", **more,
            )
        )  # fmt: skip
    return sl.types.Comparison(
        info(size), "hints", "test", "head", "last_prompt", n, 0.5, tuple(rows), tuple(bands)
    )


def pairs_curves(size="tiny"):
    from sadi_lens.types.results import PairsCurve

    sizes = (10, 25, 50, 100, 150)
    rng = np.random.default_rng(7)
    found = {}
    for component, top in (("head", 0.8), ("hidden", 0.76), ("neuron", 0.72)):
        growth = 1 - np.exp(-np.array(sizes)[:, None] / 40)
        spread = rng.normal(0, 0.05, (5, 20)) * (1.2 - growth)
        accuracy = (0.62 + (top - 0.62) * growth + spread).astype(np.float32)
        jaccard = np.clip(growth - 0.1 + spread, 0, 1).astype(np.float32)
        disjoint = np.where(np.array(sizes)[:, None] > 75, np.nan, jaccard * 0.8).astype(np.float32)
        found[f"SADI {component}"] = PairsCurve(
            component, info(size), "signed", 6, 150, sizes, jaccard, disjoint, accuracy, accuracy - 0.5,
            0.02, 5.0, "dev", 0.64, noise_all=jaccard * 0.4, noise_disjoint=disjoint * 0.3,
        )  # fmt: skip
    return found


@cache
def shifts(size="tiny"):
    from sadi_lens.types.results import ActivationShifts

    rng = np.random.default_rng(8)
    n, d = (SHAPES[size][5], SHAPES[size][3])
    groups = rng.integers(2, size=n)
    centre = rng.normal(0, 1, (2, d))
    before = centre[groups] * 1.5 + rng.normal(0, 0.6, (n, d))
    direction = rng.normal(0, 1, d)
    adaptive = before * (1 + 1.2 * (rng.random(d) < 0.2))
    fixed = before + 0.9 * direction
    return ActivationShifts(
        model=info(size),
        component="hidden",
        layer=SHAPES[size][0] - 1,
        position="last_prompt",
        before=before.astype(np.float32),
        after=np.stack([adaptive, fixed]).astype(np.float32),
        methods=("SADI head, K 4, strength 5", "fixed vector, same mask"),
        kinds=("adaptive", "fixed"),
        prompts=tuple(f"prompt {i} {UNSAFE}" for i in range(n)),
        groups=tuple(("answer A is right", "answer B is right")[g] for g in groups),
        confounds=tuple(("listed first", "listed second")[i % 2] for i in range(n)),
        matched="norm",
        task="hints",
    )


def evaluations(size="tiny"):
    """Unsteered, adaptive, fixed on the same items."""
    import sadi_lens as sl

    rng = np.random.default_rng(9)
    n = SHAPES[size][5] * (10 if size == "7b" else 1)
    base = rng.normal(0.3, 1, n)
    found = []
    for label, margins in (
        ("unsteered", base),
        ("SADI head, K 4, strength 5", base * 1.4 + rng.normal(0.2, 0.4, n)),
        ("fixed vector, same mask", base + rng.normal(0.1, 0.15, n)),
    ):
        margins = margins.astype(np.float32)
        found.append(
            sl.types.Evaluation(
                label, info(size), "hints", "test", "last_prompt", "sum", margins > 0, margins,
                np.ones(n, bool), np.zeros((n, 2), np.float32), "same",
            )
        )  # fmt: skip
    return found


def trace(size="tiny", kind="adaptive", words=None):
    from sadi_lens.types.results import GenerationTrace

    n_layers, *_, n_tokens, _ = SHAPES[size]
    rng = np.random.default_rng(10)
    vocabulary = words or [
        " the",
        " food",
        " was",
        " awful",
        ",",
        "\n",
        " <b>",
        " superb",
        "  ",
        ".",
    ]
    tokens = tuple(str(t) for t in rng.choice(vocabulary, n_tokens))
    plain = -rng.gamma(1.5, 1.2, n_tokens)
    change = rng.normal(0.2, 1.2, n_tokens) * (kind != "unsteered")
    norms = rng.gamma(2, 1.5, (n_layers, n_tokens)) * (rng.random((n_layers, 1)) < 0.5)
    return GenerationTrace(
        "unsteered" if kind == "unsteered" else f"{kind}, K 4, strength 5",
        kind,
        info(size),
        "" if kind == "unsteered" else "head",
        "every_step",
        f"The review said: {UNSAFE}",
        tokens,
        plain.astype(np.float32),
        np.minimum(plain + change, 0).astype(np.float32),
        np.abs(change).astype(np.float32),
        norms.astype(np.float32) * (kind != "unsteered"),
    )


def roles(size="tiny"):
    from sadi_lens.types.results import TokenRoles

    text = (
        "<bos> Story : _Noah _and _Jane _walked _to _the _park . _They _had _a _question _about _Max . \n "
        "Question : _Which _colour _does _Max _like ? \n Options : _grey _or _brown . \n Answer : _brown"
    )
    words = [word.replace("_", " ") for word in text.split(" ")]
    tokens = tuple(words[:-1] * (12 if size == "7b" else 1) + words[-1:])
    n = len(tokens)
    return [
        TokenRoles(
            info(size),
            f"prompt + right answer, position {position}",
            tokens,
            n - 1,
            (n - 1,),
            steered,
            position,
        )
        for position, steered in (("last_prompt", (n - 2,)), ("all", tuple(range(n))))
    ]


def side_effect_curves(size="tiny"):
    from sadi_lens.types.results import SideEffectCurve

    found = []
    strengths = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
    for kind, label, reach, cost in (
        ("adaptive", "SADI head, K 4", 0.16, 0.004),
        ("fixed", "fixed vector, same mask", 0.12, 0.03),
        ("random", "random mask, K 4", 0.02, 0.006),
    ):
        dose = np.array(strengths) / 20
        accuracy = (
            0.64 + reach * np.minimum(dose, 1) * 1.3 - 0.1 * np.maximum(dose - 1, 0)
        ).astype(np.float32)
        found.append(
            SideEffectCurve(
                label, kind, info(size), "hints", "test", 400, strengths, accuracy, accuracy - 0.04,
                accuracy + 0.04, (cost * dose**1.5).astype(np.float32), 0.64, "head",
            )
        )  # fmt: skip
    return found


@cache
def agreement(size="tiny", component="head"):
    from sadi_lens.types.results import SignAgreement

    rng = np.random.default_rng(11)
    shape = differences(component, size).mean.shape
    share = rng.beta(1.2, 1.2, shape).astype(np.float32)
    return SignAgreement(component, info(size), 150, share, share[::-1].copy(), "hints")


def head_paths(size="tiny"):
    """What ``sadi_lens.measure.head_paths`` returns: the whole effect, its parts, ablations."""
    import pandas as pd

    units = [(2, 9), (2, 12)] if size == "tiny" else [(14, 7), (14, 22), (17, 3), (28, 30)]
    parts = np.linspace(0.35, 0.05, len(units)) * (-1) ** np.arange(len(units))
    rows = [
        ("unsteered", 0.0),
        ("scaled", 1.9),
        ("direct", parts.sum()),
        ("rest", 1.9 - parts.sum()),
    ]
    rows += [
        (f"direct, L{layer}H{unit}", part) for (layer, unit), part in zip(units, parts, strict=True)
    ]
    rows += [("mean ablation", -0.4), ("resample ablation", -0.7)]
    frame = pd.DataFrame(rows, columns=["edit", "margin"])
    half = 0.05 + 0.1 * frame.margin.abs()
    frame = frame.assign(low=frame.margin - half, high=frame.margin + half, accuracy=0.8, n=240)
    frame.attrs = {
        "label": f"SADI head, K {len(units)}, strength 5",
        "task": "hints",
        "model": info(size).name,
        "split": "dev",
    }
    return frame


def runs(size="tiny"):
    """Rows of an experiment: two methods at five numbers of pairs and three seeds, and the unsteered model."""
    import pandas as pd

    rng = np.random.default_rng(12)
    base = {"model": info(size).name, "task": "hints", "n": 240, "chance": 0.5, "component": "head"}
    rows = [{**base, "method": "unsteered", "seed": 0, "n_pairs_used": 0, "accuracy": 0.64}]
    for method, reach in (("sadi", 0.28), ("fixed", 0.1)):
        for seed in range(3):
            for n in (5, 10, 20, 50, 150):
                accuracy = 0.64 + reach * (1 - np.exp(-n / 20)) + rng.normal(0, 0.02)
                row = {"method": method, "seed": seed, "n_pairs_used": n, "accuracy": accuracy}
                rows.append(base | row)
    return pd.DataFrame(rows)


def dots():
    """Two layers of three heads as a lesson draws them, two of them in the mask."""
    from sadi_lens.plots import dot_grid

    values = np.array([[0.1, -0.4, 0.2], [1.2, -0.9, 0.0]])
    mask = np.array([[False, False, False], [True, False, True]])
    panels = {"D": values, "A' = A + 2 (A * M)": values * (1 + 2 * mask)}
    return partial(dot_grid, panels, {"M": mask}, title="Two of six heads are scaled")


def drawings(size="tiny"):
    """Name -> function of the theme that draws the figure, its results made beforehand."""
    from sadi_lens import plots

    found = {}
    for component in ("head", "hidden", "neuron"):
        one, mask = differences(component, size), masks(size)[component]
        found[f"differences_{component}"] = partial(plots.difference_heatmap, one, mask)
        null = sign_flip_null(size, component)
        found[f"rank_curve_{component}"] = partial(plots.rank_curve, one, mask.k, null=null)
    named = {f"SADI {name}": mask for name, mask in masks(size).items()}
    one, mask = differences("head", size), masks(size)["head"]
    null = sign_flip_null(size)
    return found | {
        "steering_arrows": partial(plots.steering_arrows, shifts(size)),
        "method_accuracy": partial(plots.method_accuracy, comparison(size)),
        "differences_null": partial(plots.difference_heatmap, one, mask, null=null),
        "units_by_layer": partial(plots.units_by_layer, named),
        "difference_distributions": partial(plots.difference_distributions, unit_differences(size)),
        "mask_overlap": partial(plots.mask_overlap, task_masks(size)),
        "sweep": partial(plots.sweep_heatmap, sweep(size)),
        "pairs_ablation": partial(plots.pairs_ablation, pairs_curves(size)),
        "pairs_jaccard": partial(
            plots.pairs_ablation, pairs_curves(size), measure="jaccard_disjoint"
        ),
        "example_effects": partial(plots.example_effects, *evaluations(size)),
        "generation_trace": partial(plots.generation_trace, trace(size)),
        "side_effects": partial(plots.side_effect_curve, side_effect_curves(size)),
        "token_strip": partial(plots.token_strip, roles(size)),
        "head_paths": partial(plots.head_paths, head_paths(size)),
        "accuracy_by_pairs": partial(plots.accuracy_by_pairs, runs(size)),
        "dot_grid": dots(),
    }
