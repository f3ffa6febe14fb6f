"""``python -m studies``: run a study from its YAML."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import yaml

from frbench.contracts.errors import UserError
from frbench.support.atomic import check_writable
from frbench.support.parser import Parser

#: Study -> module of this package with ``run(config, out)``, and the options it reads.
STUDIES = {
    "alignment": "fr_train_alignment",
    "information": "information_and_impact",
    "imbalance": "fr_train_imbalance",
    "replacement": "fr_train_replacement",
}


def main(argv: list[str] | None = None) -> int:
    """Run a study and return the exit status."""
    parser = Parser("python -m studies", description=__doc__)
    parser.add_argument("study", type=Path, help="YAML file with `study` and its options")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and plots")
    arguments = parser.parse_args(argv)
    try:
        try:
            config = yaml.safe_load(arguments.study.read_text())
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"{arguments.study} is not a readable YAML file ({error}).") from error
        if not isinstance(config, dict) or config.get("study") not in STUDIES:
            raise UserError(
                f"{arguments.study} must name its study, `study:` one of {', '.join(STUDIES)}."
            )
        module = import_module(f"studies.{STUDIES[config.pop('study')]}")
        if config.keys() != module.OPTIONS:
            raise UserError(
                f"{arguments.study} must give exactly the options {sorted(module.OPTIONS)}, got "
                f"{sorted(config)}."
            )
        check_writable(arguments.out, "--out")
        arguments.out.mkdir(parents=True, exist_ok=True)
        module.run(config, arguments.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
