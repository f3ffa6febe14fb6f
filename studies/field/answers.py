"""The eight questions of a study, each answered by tables and named quantities."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from frbench.causal.analysis import analyze
from frbench.causal.examples import example
from frbench.report import Estimate, Run, estimate
from frbench.report.ranks import critical_difference, friedman
from studies.field.runs import Field, correlation, gain, value
from studies.output import markdown

#: Suffixes of the two views of several attributes: their product, and each of them alone.
VIEWS = {"intersectional": "", "each attribute alone": "/parallel"}
FAIRNESS = (
    "equalized_odds_difference", "equalized_odds_soft",
    "demographic_parity_difference", "demographic_parity_soft",
)  # fmt: skip
RESAMPLES = 2000


class Answer(NamedTuple):
    """A table of the page, and the quantities that predictions name.

    Attributes:
        title: What it answers.
        header: Names of the columns.
        rows: Texts.
        quantities: Name -> estimate.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    quantities: dict[str, Estimate]

    def render(self) -> str:
        """Write the heading and the table as Markdown."""
        return f"### {self.title}\n\n{markdown(self.header, self.rows)}"


def number(found: float) -> str:
    """Write a number with three decimals; – if it is undefined."""
    return f"{found:.3f}" if math.isfinite(found) else "–"


def span(found: Estimate) -> str:
    """Write a mean with its interval."""
    if not math.isfinite(found.low):
        return number(found.mean)
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def leaderboards(field: Field) -> Iterator[Answer]:
    """(i) The methods of each data set, attributes known and unknown, best score first."""
    for name, data in field.data.items():
        for view, rule in (("known", data.known), ("unknown", data.unknown)):
            base = field.chosen(name, "ERM", rule)
            rows, gains = [], []
            for method in field.methods(name):
                found = field.chosen(name, method, rule)
                if not found or (view == "unknown" and field.reads(method)):
                    continue
                score = field.score(name, method, rule)
                more = gain(found, base, data.score)
                seconds = float(np.mean([run.seconds for run in found.values()]))
                inside = estimate([value(run, data.inside) for run in found.values()])
                gap = estimate(
                    [value(run, f"{data.table}/{FAIRNESS[0]}") for run in found.values()]
                )
                if method != "ERM":
                    gains.append(field.sign(name) * more.mean)
                rows.append((field.sign(name) * score.mean, [
                    method, "yes" if field.reads(method) else "no", span(score),
                    "" if method == "ERM" else span(more), number(inside.mean), number(gap.mean),
                    str(score.n), f"{seconds:.1f}",
                ]))  # fmt: skip
            rows.sort(key=lambda row: -row[0] if math.isfinite(row[0]) else math.inf)
            finite = [g for g in gains if math.isfinite(g)]
            better = float(np.mean([g > 0 for g in finite])) if finite else math.nan
            yield Answer(
                f"{data.title}: attributes {view} (chosen by {rule})",
                ["method", "attribute in training or fitting", data.score, "minus ERM",
                 data.inside, "equalized odds difference", "n", "seconds"],
                [row for _, row in rows],
                {
                    f"best gain.{name}.{view}": _point(max(finite, default=math.nan), len(finite)),
                    f"share better than ERM.{name}.{view}": _point(better, len(finite)),
                },
            )  # fmt: skip


def overall(field: Field) -> Answer:
    """(i) Mean ranks over the data sets of the methods that all have, attributes known."""
    names = list(field.data)
    shared = [m for m in field.methods(names[0]) if all(m in field.methods(n) for n in names)]
    scores = np.array([
        [field.sign(n) * field.score(n, m, field.data[n].known).mean for m in shared]
        for n in names
    ])  # fmt: skip
    whole = np.isfinite(scores).all(0)
    shared = [m for m, there in zip(shared, whole, strict=True) if there]
    ranks = rankdata(-scores[:, whole], axis=1)
    drawn = np.random.default_rng(0).integers(0, len(names), (RESAMPLES, len(names)))
    low, high = np.quantile(ranks[drawn].mean(1), [0.025, 0.975], axis=0)
    statistic, p = friedman(ranks) if len(shared) > 1 else (math.nan, math.nan)
    rows = [
        [shared[i], f"{ranks[:, i].mean():.1f} [{low[i]:.1f}, {high[i]:.1f}]",
         ", ".join(f"{r:g}" for r in ranks[:, i])]
        for i in np.argsort(ranks.mean(0), kind="stable")
    ]  # fmt: skip
    apart = critical_difference(len(shared), len(names)) if len(shared) > 1 else math.nan
    title = (
        f"Over {len(names)} data sets: {len(shared)} methods, Friedman's chi-squared "
        f"{statistic:.1f}, p = {p:.2g}; mean ranks further apart than {apart:.1f} differ at 5 %"
    )
    header = ["method", "mean rank [bootstrap over data sets]", f"ranks on {', '.join(names)}"]
    mine = {m: ranks[:, i].mean() for i, m in enumerate(shared)}
    return Answer(title, header, rows, {
        "rank of ERM": _point(float(mine.get("ERM", math.nan)), len(names)),
        "friedman p": _point(p, len(names)),
    })  # fmt: skip


def claims(field: Field) -> Answer:
    """(ii) Published gains over ERM beside those against default and against tuned ERM."""
    rows, quantities = [], {}
    for claim in field.plan["claims"]:
        name, method, key = claim["data"], claim["method"], claim["metric"]
        if name not in field.data or method not in field.methods(name):
            continue
        rule = field.data[name].known
        tuned = field.chosen(name, method, rule)
        unequal = gain(field.chosen(name, method, rule, also=field.search),
                       field.default(name, "ERM"), key)  # fmt: skip
        equal = gain(tuned, field.chosen(name, "ERM", rule), key)
        published = claim["published"] - claim["baseline"]
        share = equal.mean / published
        rows.append([field.data[name].title, method, number(published), span(unequal),
                     span(equal), f"{share:.2f}", claim["note"]])  # fmt: skip
        quantities[f"gain.{name}.{method}"] = equal
        quantities[f"surviving share.{name}.{method}"] = _point(share, equal.n)
    header = ["data", "method", "published gain", "tuned minus ERM's defaults",
              "tuned minus tuned ERM", "equal / published", "differences"]  # fmt: skip
    return Answer("What is left of published gains", header, rows, quantities)


def selection(field: Field) -> Answer:
    """(iii) What the choice of the setting costs without attributes, over methods."""
    rows, quantities = [], {}
    for name, data in field.data.items():
        rules = {"with attributes": data.known, "without attributes": data.unknown}
        tuned = [m for m in field.methods(name) if len(field.settings[name, m]) > 1]
        known = {m: field.score(name, m, rules["with attributes"]).mean for m in tuned}
        for label, rule in rules.items():
            scores = {m: field.score(name, m, rule).mean for m in tuned}
            less = estimate([field.sign(name) * (known[m] - scores[m]) for m in tuned])
            same = np.mean([
                field.chosen(name, m, rule) == field.chosen(name, m, data.known) for m in tuned
            ])  # fmt: skip
            mean = estimate(scores.values())
            rows.append(
                [data.title, label, rule, span(mean), span(less), f"{same:.2f}", str(less.n)]
            )
            quantities[f"selection.{name}.{label}"] = less
    header = ["data", "chosen", "rule", "mean score of the methods",
              "lost against with attributes", "same setting", "methods"]  # fmt: skip
    return Answer("Choice with and without attributes", header, rows, quantities)


def fairness(field: Field) -> Answer:
    """(iv) Spearman's correlation over methods of the worst group and each fairness gap."""
    rows, quantities = [], {}
    for name, data in field.data.items():
        chosen = [field.chosen(name, m, data.known) for m in field.methods(name)]
        chosen = [runs for runs in chosen if runs]

        def column(key: str, chosen: list[dict[int, Run]] = chosen) -> list[float]:
            return [float(np.mean([value(run, key) for run in runs.values()])) for runs in chosen]

        worst = column(f"{data.table}/worst_group_accuracy")
        for label, suffix in VIEWS.items():
            columns = {m: column(f"{data.table}/{m}{suffix}") for m in FAIRNESS}
            for metric, values in columns.items():
                found = correlation(worst, values, ranks=True)
                if math.isfinite(found.mean):
                    rows.append([data.title, label, metric, span(found), str(found.n)])
                    quantities[f"worst group.{name}.{label}.{metric}"] = found
            for one, other in combinations(FAIRNESS, 2):
                pair = correlation(columns[one], columns[other], ranks=True)
                if one.split("_d")[0].split("_s")[0] in other and math.isfinite(pair.mean):
                    rows.append([data.title, label, f"{one} and {other}", span(pair), str(pair.n)])
                    quantities[f"hard and soft.{name}.{label}.{one}"] = pair
    header = [
        "data",
        "attributes",
        "worst group accuracy and",
        "Spearman's correlation",
        "methods",
    ]
    return Answer("Worst group and fairness gap", header, rows, quantities)


def relaxation(field: Field) -> Answer:
    """(v) Final runs of the other methods against the relaxed curve of ERM, at their own gap.

    A setting takes part if it can be compared on every final seed: where a run is fairer than the
    whole curve, nothing is known of it.
    """
    rows, quantities = [], {}
    for name, data in field.data.items():
        x, y = f"{data.table}/{FAIRNESS[0]}", f"{data.table}/accuracy"
        curve = _curve(field, name)
        above = []
        for method in field.methods(name) if curve else []:
            if method in field.plan["relaxed"] or not field.reads(method):
                continue
            found = [
                estimate([value(own[seed], y) - _at(curve[seed], value(own[seed], x))
                          for seed in field.final])
                for own in field.settings[name, method].values()
                if {*field.final} <= own.keys() & curve.keys()
            ]  # fmt: skip
            found = [e for e in found if e.n == len(field.final)]
            if found:
                best = max(found, key=lambda e: e.mean)
                above += [e.mean > 0 for e in found]
                share = float(np.mean([e.mean > 0 for e in found]))
                rows.append([data.title, method, span(best), str(best.n), f"{share:.2f}",
                             str(len(found))])  # fmt: skip
        if above:
            share = float(np.mean(above))
            quantities[f"share above the relaxed curve.{name}"] = _point(share, len(above))
            rows.append([data.title, "all", "", "", f"{share:.2f}", str(len(above))])
    header = ["data", "method", "best setting: accuracy minus the curve at its gap", "n",
              "settings above", "settings"]  # fmt: skip
    return Answer("Against relaxed postprocessing of ERM", header, rows, quantities)


def equal_relaxation(field: Field) -> Answer:
    """(v) Another method and ERM, both postprocessed at one tolerance."""
    rows, quantities = [], {}
    for name, data in field.data.items():
        for ours, theirs in field.plan["also_relaxed"].items():
            runs = [field.chosen(name, method, data.known) for method in (ours, theirs)]
            if all(runs):
                pair = [gain(*runs, f"{data.table}/{key}") for key in ("accuracy", FAIRNESS[0])]
                rows.append([data.title, ours, theirs, *map(span, pair), str(pair[0].n)])
                quantities[f"equal relaxation.{name}.{ours}"] = pair[0]
    header = ["data", "method", "minus", "accuracy", "equalized odds difference", "n"]
    return Answer("Both postprocessed at one tolerance", header, rows, quantities)


def _curve(field: Field, name: str) -> dict[int, np.ndarray]:
    """Return gap and accuracy of ERM's chosen setting at each tolerance, by final seed."""
    data = field.data[name]
    keys = f"{data.table}/{FAIRNESS[0]}", f"{data.table}/accuracy"
    chosen = [field.chosen(name, method, data.known) for method in field.plan["relaxed"]]
    chosen = [runs for runs in chosen if runs]
    seeds = field.final if chosen else []
    return {
        seed: np.array(sorted([value(runs[seed], key) for key in keys] for runs in chosen))
        for seed in seeds
        if all(seed in runs for runs in chosen)
    }


def _at(curve: np.ndarray, gap: float) -> float:
    """Read the accuracy that the curve reaches with at most a gap; linear between its points."""
    reached = np.maximum.accumulate(curve[:, 1])
    if gap < curve[0, 0]:
        return math.nan  # no point of the curve is as fair
    return float(np.interp(gap, curve[:, 0], reached))


def advice(field: Field) -> Answer:
    """(vi) Methods that carry out the causal analyzer's advice, among all."""
    rows, quantities = [], {}
    for name, data in field.data.items():
        found = analyze(example(data.graph)).recommendation
        carries = field.plan["carries_out"].get(found.action, [])
        scores = {
            m: field.score(name, m, data.known, data.outside).mean for m in field.methods(name)
        }
        scores = {m: score for m, score in scores.items() if math.isfinite(score)}
        own = [m for m in carries if m in scores]
        if not own:
            continue
        order = sorted(scores, key=lambda m: -scores[m])
        for method in own:
            less = gain(field.chosen(name, order[0], data.known),
                        field.chosen(name, method, data.known), data.outside)  # fmt: skip
            doubt = "" if found.certified else ", no certificate"
            rows.append([data.title, f"{found.action}{doubt}",
                         method, str(order.index(method) + 1), str(len(order)), order[0],
                         span(less)])  # fmt: skip
        regret = scores[order[0]] - max(scores[m] for m in own)
        quantities[f"regret of the advice.{name}"] = _point(regret, len(own))
    header = ["data", "advice", "carried out by", "rank outside", "methods", "best",
              "best minus this"]  # fmt: skip
    return Answer("Advice of the causal analyzer and outcome", header, rows, quantities)


def cost(field: Field) -> Answer:
    """(vii) Time against gain over ERM."""
    rows, quantities = [], {}
    for name, data in field.data.items():
        base = field.chosen(name, "ERM", data.known)
        points = cost_points(field, name)
        found = correlation([p[1] for p in points], [p[2] for p in points], ranks=True)
        best, front = -math.inf, []
        for method, ratio, more in sorted(points, key=lambda p: (p[1], -p[2])):
            if more > best:
                best = more
                front.append(f"{method} ({ratio:.1f}, {more:+.3f})")
        rows.append([data.title, span(found), str(found.n), "; ".join(front),
                     f"{np.mean([run.seconds for run in base.values()]):.1f}"])  # fmt: skip
        quantities[f"cost and gain.{name}"] = found
    header = ["data", "Spearman's correlation", "methods",
              "none is cheaper and better (time over ERM's, gain)", "ERM's seconds"]  # fmt: skip
    return Answer("Time and gain", header, rows, quantities)


def cost_points(field: Field, name: str) -> list[tuple[str, float, float]]:
    """Return each method with its time over ERM's and its gain; a fit is added to ERM's time."""
    data = field.data[name]
    base = field.chosen(name, "ERM", data.known)
    unit = float(np.mean([run.seconds for run in base.values()])) if base else math.nan
    points = []
    for method in field.methods(name):
        runs = field.chosen(name, method, data.known)
        if runs and method != "ERM":
            mean = float(np.mean([run.seconds for run in runs.values()]))
            behind = any(run.record.get("after") for run in runs.values())
            more = field.sign(name) * gain(runs, base, data.score).mean
            points.append((method, mean / unit + behind, more))
    return [point for point in points if math.isfinite(point[2])]


def shift(field: Field) -> Answer:
    """(viii) Accuracy inside and outside of the training distribution, over all runs."""
    rows, quantities = [], {}
    for name, data in field.data.items():
        own = [run for run in field.runs if run.data == name]
        pairs = [value(run, data.inside) for run in own], [value(run, data.outside) for run in own]
        found, ranks = correlation(*pairs), correlation(*pairs, ranks=True)
        rows.append(
            [data.title, data.inside, data.outside, span(found), span(ranks), str(found.n)]
        )
        quantities[f"inside and outside.{name}"] = found
    header = ["data", "inside", "outside", "Pearson", "Spearman", "runs"]
    return Answer("Accuracy inside and outside", header, rows, quantities)


def budget(field: Field) -> Answer:
    """Runs, draws and time; and how many cells failed."""
    rows, total = [], 0.0
    for name, data in field.data.items():
        own = [run for run in field.runs if run.data == name]
        hours = sum(run.seconds for run in own) / 3600
        total += hours
        settings = [len(field.settings[name, m]) for m in field.methods(name)]
        rows.append([data.title, str(len(field.methods(name))), f"{min(settings)}–{max(settings)}",
                     str(len(own)), str(sum(run.data == name for run in field.failed)),
                     f"{hours:.2f}", f"{3600 * hours / len(own):.1f}"])  # fmt: skip
    rows.append(["all", "", "", str(len(field.runs)), str(len(field.failed)), f"{total:.2f}", ""])
    header = ["data", "methods", "settings of a method", "runs", "failed", "hours",
              "seconds of a run"]  # fmt: skip
    hours = {"hours": _point(total, len(field.runs))}
    return Answer("Budgets and time", header, rows, hours)


def predictions(field: Field, known: Mapping[str, Estimate]) -> Answer:
    """Decide what was predicted: ``quantity >= number`` or ``<=``, by the estimate."""
    rows = []
    for text, rule in field.plan["predictions"].items():
        quantity, sign, bound = rule.rsplit(maxsplit=2)
        found = known.get(quantity)
        if found is None or not math.isfinite(found.mean):
            rows.append([text, rule, "–", "", "not measured"])
            continue
        hit = found.mean >= float(bound) if sign == ">=" else found.mean <= float(bound)
        rows.append([text, rule, span(found), str(found.n), "hit" if hit else "miss"])
    header = ["predicted", "rule", "measured", "n", "outcome"]
    verdicts = [row[-1] for row in rows]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in sorted({*verdicts}))
    return Answer(f"Predictions: {counts}", header, rows, {})


def answers(field: Field) -> list[Answer]:
    """Answer every question; the predictions come first."""
    found: list[Answer] = [*leaderboards(field), overall(field)]
    questions = (claims, selection, fairness, relaxation, equal_relaxation, advice, cost, shift,
                 budget)  # fmt: skip
    found += [question(field) for question in questions]
    known: dict[str, Any] = {}
    for answer in found:
        known |= answer.quantities
    return [predictions(field, known), *found]


def _point(mean: float, n: int) -> Estimate:
    return Estimate(mean, math.nan, n, math.nan, math.nan)
