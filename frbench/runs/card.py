"""Model cards: what a trained model is, on whom it was evaluated, and where that evidence ends."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from frbench.contracts.checkpoint_format import read_section
from frbench.contracts.errors import UserError
from frbench.contracts.text import printable
from frbench.metrics.api import evaluate_rows, intervals_rows
from frbench.metrics.counts import tabulate
from frbench.metrics.names import group_name
from frbench.metrics.positive import about_positive
from frbench.metrics.rows import Rows
from frbench.metrics.verdicts import four_fifths
from frbench.runs.checkpoint import read_checkpoint
from frbench.runs.environment import environment
from frbench.support.sheet import Sheet, Value
from frbench.training.objective import Objective
from frbench.training.scoring import in_numpy

#: Metrics of a card, in this order.
METRICS = (
    "accuracy", "balanced_accuracy", "worst_group_accuracy", "accuracy_gap",
    "demographic_parity_difference", "equal_opportunity_difference", "equalized_odds_difference",
    "auroc", "expected_calibration_error",
)  # fmt: skip
#: Rates of each attribute value.
RATES = ("accuracy", "selection_rate", "true_positive_rate", "false_positive_rate")
#: Rows under which the accuracy of a group is called uncertain.
FEW = 100
#: Input columns that are named.
MOST = 60
#: Sanity checks of the training, which say nothing of the model that was kept.
_OF_TRAINING = ("small_batch_groups", "one_sample_weight", "falling_worst_group")


def card(model: Objective, path: Path, file: Path | None = None) -> str:
    """Write the card of a checkpoint, in the format of Hugging Face's model cards.

    Args:
        model: What :func:`frbench.load` gives.
        path: Its checkpoint.
        file: Labelled rows to evaluate on, in place of the test tables of the run.

    Raises:
        UserError: If the file has no labelled rows.
    """
    checkpoint = read_checkpoint(path)
    described = read_section(checkpoint)
    tables = dict(_tables(model, file))
    least = model.min_group_rows
    values = {name: evaluate_rows(rows, min_group_rows=least) for name, rows in tables.items()}
    parts = [
        _front_matter(described, values),
        _summary(model, described, path),
        _data(model, described),
        _training(model, described),
        *(_results(name, rows, values[name], least) for name, rows in tables.items()),
        _limits(described, tables, checkpoint.get("callbacks", {})),
        _versions(),
    ]
    return "\n".join(parts)


def _tables(model: Objective, file: Path | None) -> Iterator[tuple[str, Rows]]:
    """Coded rows of each table with the model's decisions."""
    data = model.encoding
    names = tuple(map(str, data.class_names)), tuple(map(str, data.attribute_names))

    def rows(y: Any, z: Any, probabilities: np.ndarray, codes: np.ndarray) -> Rows:
        scores = probabilities[:, 1:] if len(names[0]) == 2 else probabilities
        return Rows(np.asarray(y), codes, np.asarray(z), scores, None, *names)

    if file is None:
        for name in data.test_names:
            table = data.splits[name]
            probabilities, codes, _ = in_numpy(model.table_outcome(table))
            yield name, rows(table.y, table.z, probabilities, codes)
        return
    found = []
    for part, probabilities, codes, _ in model.score(str(file)):
        table, kept = data.labelled(part)
        found.append((table.y, table.z, probabilities[kept], codes[kept]))
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    if not columns or not len(columns[0]):
        raise UserError(f"{file} has no labelled rows to evaluate on.")
    yield file.name, rows(*columns)


def _front_matter(described: Mapping[str, Any], values: Mapping[str, Mapping[str, float]]) -> str:
    data = _class(described["data"])
    results = [
        {
            "task": {"type": "classification"},
            "dataset": {"name": f"{data}, {name}", "type": data},
            "metrics": [
                {"type": key, "name": key.replace("_", " "), "value": round(found[key], 6)}
                for key in METRICS
                if not math.isnan(found.get(key, math.nan))
            ],
        }
        for name, found in values.items()
    ]
    front = {
        "library_name": "frbench",
        "tags": ["fairness", "robustness", "classification"],
        "model-index": [{"name": _name(described), "results": results}],
    }
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n"


def _summary(model: Objective, described: Mapping[str, Any], path: Path) -> str:
    classes = ", ".join(printable(str(name)) for name in model.classes_)
    use = (
        f"**The attribute is read when a decision is made**: {model.attribute_use}"
        if model.attribute_use
        else "The attribute is not read when a decision is made."
    )
    return (
        f"# {_name(described)}\n\n"
        f"A classifier of {printable(_class(described['data']))} into the classes {classes}, "
        f"trained by frbench. {use}\n\n"
        f"```bash\nfrbench predict --ckpt_path {printable(path.name)} new.csv\n```\n"
    )


def _data(model: Objective, described: Mapping[str, Any]) -> str:
    """Where rows and groups come from, and how many of each were trained on."""
    data, options = model.encoding, described["data"]["init_args"]
    observed = np.asarray(described["learnt"].get("observed", []))
    rows: list[list[Value]] = [
        [printable(group_name(data.class_names[y], data.attribute_names[z])), int(n),
         float(n / observed.sum())]
        for (y, z), n in np.ndenumerate(observed)
    ]  # fmt: skip
    inferred = described["model"]["init_args"].get("infer")
    obtained = (
        f"Training took the groups that {_class(inferred)} inferred; those below are the observed "
        "ones."
        if inferred
        else "A group is a class crossed with a value of the attribute, both as given in the data."
    )
    lines = [obtained]
    named = {k: options[k] for k in ("path", "target", "attribute", "task", "train_on", "corrupt",
             "augment", "balance") if options.get(k) not in (None, "", "none")}  # fmt: skip
    if "path" in named:  # not the folders of whoever trained it
        named["path"] = Path(named["path"]).name
    lines += [f"{key}: `{_text(value)}`" for key, value in named.items()]
    lines.append(f"attribute values: {', '.join(map(printable, data.attribute_names))}")
    columns = [entry["name"] for entry in described["learnt"].get("columns", [])]
    if columns:
        more = f" and {len(columns) - MOST} more" if len(columns) > MOST else ""
        lines.append(f"input columns: {', '.join(map(printable, columns[:MOST]))}{more}")
    lines += [f"{name}: {table['rows']} rows" for name, table in described["tables"].items()]
    sheet = Sheet("", ("group", "training rows", "share"), rows)
    listed = "\n".join(f"- {line}" for line in lines)
    return f"## Data\n\n{listed}\n\n{sheet.render('markdown')}"


def _training(model: Objective, described: Mapping[str, Any]) -> str:
    spec, selection = described["model"]["init_args"], described["selection"]
    names = {
        "objective": _class(described["model"]),
        "penalties": ", ".join(map(_class, spec.get("penalties") or [])),
        "group inference": _class(spec.get("infer")),
        "mixing": _class(spec.get("mixing")),
        "network": _class(spec["network"]),
        "postprocessing": type(model.postprocess).__name__ if model.postprocess else "",
        "optimiser": f"{spec['optimizer']}, learning rate {spec['lr']:g}, weight decay "
        f"{spec['weight_decay']:g}",
        "seed": str(described["seed"]),
        "selected": f"the step with the {'largest' if selection['mode'] == 'max' else 'smallest'} "
        f"`{selection['monitor']}`"
        + (", **which is a metric of the test rows**" if selection["oracle"] else "")
        if selection
        else "the last step",
    }
    listed = "\n".join(f"- {key}: {value}" for key, value in names.items() if value)
    return f"## Training\n\n{listed}\n"


def _group_sizes(rows: Rows) -> dict[str, int]:
    size = len(rows.attribute_names)
    groups = (rows.y * size + rows.z)[rows.z >= 0]
    counts = np.bincount(groups, minlength=len(rows.class_names) * size)
    return {
        group_name(rows.class_names[i // size], rows.attribute_names[i % size]): int(n)
        for i, n in enumerate(counts)
    }


def _results(name: str, rows: Rows, found: Mapping[str, float], least: int) -> str:
    spans = intervals_rows(rows, min_group_rows=least)
    overall: list[list[Value]] = [
        [key.replace("_", " "), found[key], _span(spans.get(key))]
        for key in METRICS
        if key in found
    ]
    groups: list[list[Value]] = []
    for group, n in _group_sizes(rows).items():
        key = f"group_accuracy/{group}"
        groups.append([printable(group), n, found[key], _span(spans.get(key))])
    rates: list[list[Value]] = [
        [
            printable(value),
            int((rows.z == z).sum()),
            *(f"{found[key]:.3f} {_span(spans.get(key))}" for key in _keys(value)),
        ]
        for z, value in enumerate(rows.attribute_names)
        if (rows.z == z).any()
    ]
    header = ("metric", "value", "95 % interval")
    by_value = ("z", "rows", *(name.replace("_", " ") for name in RATES))
    return (
        f"## Results on {printable(name)}\n\n{len(rows.y)} rows.{_rule(rows)}\n\n"
        f"{Sheet('', header, overall).render('markdown')}\n"
        f"{Sheet('', by_value, rates).render('markdown')}\n"
        f"{Sheet('', ('group', 'rows', 'accuracy', '95 % interval'), groups).render('markdown')}"
    )


def _keys(value: str) -> list[str]:
    return [f"{name}/z={value}" for name in RATES]


def _rule(rows: Rows) -> str:
    """Say what the rates are of, and what the four-fifths rule finds."""
    known = rows.z >= 0
    sizes = len(rows.class_names), len(rows.attribute_names)
    counts = tabulate(rows.y[known], rows.y_pred[known], rows.z[known], *sizes)
    all_values = four_fifths(counts, tuple(rows.attribute_names))[0]
    about = about_positive(rows.class_names)
    lines = [f"{about[0].upper()}{about[1:]}."] if about else []
    if not math.isnan(all_values.ratio):
        lines.append(
            f"Four-fifths rule: {all_values.verdict}; lowest / highest selection rate "
            f"{all_values.ratio:.3f} {_span(all_values.interval)}."
        )
    return "".join(f" {printable(line)}" for line in lines)


def _limits(
    described: Mapping[str, Any], tables: Mapping[str, Rows], callbacks: Mapping[str, Any]
) -> str:
    lines = [
        "Intervals say how far a figure may be off because the test rows are a sample. They cover "
        "neither another seed of the training nor another population.",
        "Group metrics speak of the attribute values named above alone.",
    ]
    if not described["selection"] or described["selection"]["oracle"]:
        lines.append("The step was not selected on held-out validation rows.")
    for name, rows in tables.items():
        if few := [
            f"{printable(group)} ({n})" for group, n in _group_sizes(rows).items() if n < FEW
        ]:
            lines.append(f"{printable(name)} has under {FEW} rows of {', '.join(few)}.")
        if unknown := int((rows.z < 0).sum()):
            lines.append(f"{printable(name)} has {unknown} rows without an attribute value.")
    warned = {
        str(text)
        for key, state in callbacks.items()
        if key.startswith("SanityCheck")
        for check, text in state.get("raised", {}).items()
        if check.partition("/")[0] not in _OF_TRAINING
    }
    lines += [printable(text) for text in sorted(warned)]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines) + "\n"


def _versions() -> str:
    found = environment()
    listed = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    today = datetime.now(UTC).date()
    return f"## Versions\n\nEvaluated on {today} with {listed}, on {found['hardware']}.\n"


def _name(described: Mapping[str, Any]) -> str:
    return f"{_class(described['model'])} on {_class(described['data'])}"


def _class(spec: Mapping[str, Any] | None) -> str:
    return str(spec["class_path"]).rpartition(".")[2] if spec else ""


def _text(value: Any) -> str:
    return printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _span(interval: tuple[float, float] | None) -> str:
    if interval is None or math.isnan(interval[0]):
        return ""
    return f"[{interval[0]:.3f}, {interval[1]:.3f}]"
