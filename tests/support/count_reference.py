"""Every count metric as a slow obvious loop over rows, from docs/metric_definitions.md alone."""

import itertools
import math

import numpy as np


def reference(y, p, z, w, num_classes, num_attributes, empty="ignore", train=None):
    classes, values = range(num_classes), range(num_attributes)
    rows = list(zip(y, p, z, w, strict=True))

    def total(condition):
        return sum(wi for yi, pi, zi, wi in rows if condition(yi, pi, zi))

    def share(part, whole):
        whole_sum = total(whole)
        if whole_sum > 0:
            return total(lambda *r: part(*r) and whole(*r)) / whole_sum
        return 0.0 if empty == "zero" else math.nan

    def defined(numbers):
        return [x for x in numbers if not math.isnan(x)]

    def reduce(function, numbers):
        kept = defined(numbers)
        if empty == "nan" and len(kept) < len(numbers):
            return math.nan
        return function(kept) if kept else math.nan

    def comparable(numbers):
        return len(defined(numbers)) >= min(2, len(numbers))

    def gap(numbers):
        return reduce(max, numbers) - reduce(min, numbers) if comparable(numbers) else math.nan

    def ratio(numbers):
        if not comparable(numbers) or math.isnan(reduce(max, numbers)):
            return math.nan
        return reduce(min, numbers) / reduce(max, numbers) if reduce(max, numbers) > 0 else 1.0

    def right(yi, pi, zi):
        return yi == pi

    out = {"accuracy": share(right, lambda *r: True)}
    recalls = [share(right, lambda yi, pi, zi, c=c: yi == c) for c in classes]
    out["balanced_accuracy"] = reduce(lambda x: sum(x) / len(x), recalls)
    out["worst_class_accuracy"] = reduce(min, recalls)
    group = {
        (c, a): share(right, lambda yi, pi, zi, c=c, a=a: (yi, zi) == (c, a))
        for c, a in itertools.product(classes, values)
    }
    by_value = [share(right, lambda yi, pi, zi, a=a: zi == a) for a in values]
    out["worst_group_accuracy"] = reduce(min, list(group.values()))
    out["worst_attribute_accuracy"] = reduce(min, by_value)
    out["accuracy_gap"] = gap(by_value)
    size = {(c, a): total(lambda *r, k=(c, a): (r[0], r[2]) == k) for c, a in group}
    out["empty_groups"] = float(sum(n == 0 for n in size.values()))
    shares = size if train is None else {k: float(train[k]) for k in group}
    if empty == "ignore":
        shares = {k: s for k, s in shares.items() if size[k] > 0}
    weighted = sum(s * group[k] for k, s in shares.items() if s > 0)
    all_shares = sum(shares.values())
    out["weighted_average_accuracy"] = (
        weighted / all_shares if all_shares > 0 else (0.0 if empty == "zero" else math.nan)
    )

    people = [total(lambda yi, pi, zi, a=a: zi == a) for a in values]
    out["representation_rate"] = min(people) / max(people)
    statistical = []
    for c in classes:
        chosen = [
            share(lambda yi, pi, zi, c=c: pi == c, lambda yi, pi, zi, a=a: zi == a) for a in values
        ]
        statistical.append(ratio(chosen))
        out[f"statistical_rate/y={c}"] = statistical[-1]
    out["statistical_rate"] = reduce(min, statistical)

    def rates(c, a):
        def predicted(yi, pi, zi):
            return pi == c

        return (
            share(predicted, lambda yi, pi, zi: zi == a),
            share(predicted, lambda yi, pi, zi: yi == c and zi == a),
            share(predicted, lambda yi, pi, zi: yi != c and zi == a),
            share(lambda yi, pi, zi: yi == c, lambda yi, pi, zi: pi == c and zi == a),
        )

    worst = {}
    for c in [1] if num_classes == 2 else classes:
        sr, tpr, fpr, ppv = map(list, zip(*(rates(c, a) for a in values), strict=True))
        odds = [(t + f) / 2 for t, f in zip(tpr, fpr, strict=True)]
        signed = num_classes == num_attributes == 2
        found = {
            "demographic_parity_difference": (max, gap(sr)),
            "disparate_impact": (min, ratio(sr)),
            "equal_opportunity_difference": (max, gap(tpr)),
            "equalized_odds_difference": (
                max,
                max(gap(tpr), gap(fpr)) if gap(tpr) + gap(fpr) >= 0 else math.nan,
            ),
            "equalized_odds_mean": (max, (gap(tpr) + gap(fpr)) / 2),
            "equalized_odds_sum": (max, gap(tpr) + gap(fpr)),
            "average_odds_difference": (max, odds[0] - odds[1] if signed else gap(odds)),
            "predictive_parity_difference": (max, gap(ppv)),
        }
        for a in values:
            found[f"selection_rate/z={a}"] = (max, sr[a])
            found[f"true_positive_rate/z={a}"] = (min, tpr[a])
            found[f"false_positive_rate/z={a}"] = (max, fpr[a])
            found[f"positive_predictive_value/z={a}"] = (min, ppv[a])
        for key, (function, value) in found.items():
            worst.setdefault(key, (function, []))[1].append(value)
        benefit = [(int(pi == c) - int(yi == c) + 1, wi) for yi, pi, zi, wi in rows]
        centre = sum(b * wi for b, wi in benefit) / sum(w)
        terms = [wi * (b / centre) * math.log(b / centre) for b, wi in benefit if b > 0]
        worst.setdefault("theil_index", (max, []))[1].append(sum(terms) / sum(w))
    for key, (function, numbers) in worst.items():
        out[key] = reduce(function, numbers)
    for a in values:
        out[f"accuracy/z={a}"] = by_value[a]
    for (c, a), value in group.items():
        out[f"group_accuracy/y={c},z={a}"] = value
    return out


def random_table(
    seed, n=80, num_classes=2, num_attributes=2, drop=(), unknown=0.1, weighted=False
):
    """Rows with some unknown z and without the cells of `drop`; labels and predictions agree."""
    rng = np.random.default_rng(seed)
    y = rng.integers(num_classes, size=n)
    z = rng.integers(num_attributes, size=n)
    keep = [(a, b) not in drop for a, b in zip(y, z, strict=True)]
    y, z = y[keep], z[keep]
    p = np.where(rng.random(len(y)) < 0.6, y, rng.integers(num_classes, size=len(y)))
    z = np.where(rng.random(len(y)) < unknown, -1, z)
    w = rng.random(len(y)) if weighted else np.ones(len(y))
    return y, p, z, w
