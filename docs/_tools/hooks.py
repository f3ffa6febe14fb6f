"""What mkdocs does not do by itself: API pages from ``__all__``, links to files beside docs/."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
#: Pages that a verb writes (`make promises`); a link to one is plain text until it has run.
WRITTEN = {ROOT / "docs" / "promises.md"}
#: Page of the reference -> its modules. A package shows the names it exports.
PAGES = {
    "frbench": ["frbench"],
    "data": ["frbench.data"],
    "max_entropy": ["frbench.data.max_entropy"],
    "objectives": ["frbench.objectives", "frbench.training.manual"],
    "penalties": ["frbench.penalties"],
    "functional": ["frbench.functional"],
    "group_inference": ["frbench.group_inference"],
    "mixing": ["frbench.mixing"],
    "networks": ["frbench.networks"],
    "metrics": ["frbench.metrics"],
    "causal": ["frbench.causal"],
    "gan": ["frbench.gan"],
    "gradients": ["frbench.gradients"],
    "report": ["frbench.report"],
    "callbacks": ["frbench.callbacks"],
    "postprocessing": ["frbench.postprocessing", "frbench.training.postprocess"],
    "further": ["frbench.metrics.privacy", "frbench.distributed", "frbench.sklearn",
                "frbench.contracts.state",
                "frbench.contracts.checkpoint_format", "frbench.grids.queue",
                "frbench.grids.executors", "frbench.report.records",
                "frbench.data.tasks.oracle", "frbench.data.tasks.structural"],
}  # fmt: skip


def exported(module: str) -> list[str]:
    """List the full names of what a module exports, where each is defined; [] for all of it.

    The source is read, not imported: a reference needs no torch.
    """
    path = ROOT / module.replace(".", "/") / "__init__.py"
    if not path.is_file():
        return []
    home: dict[str, str] = {}
    for node in ast.walk(ast.parse(path.read_text())):
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "_HOME":
            home = {k: f"{module}.{v}.{k}" for k, v in ast.literal_eval(node.value).items()}
        elif isinstance(target, ast.Name) and target.id == "__all__":
            names = [n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
            home |= {str(name): f"{module}.{name}" for name in names if str(name) not in home}
    return [home[name] for name in sorted(home, key=str.lower)
            if not name.startswith("__") and name != "main"]  # fmt: skip


def _pages(nav: Any) -> set[str]:
    """Name the pages of a navigation."""
    if isinstance(nav, str):
        return {nav}
    return set().union(*map(_pages, nav.values() if isinstance(nav, dict) else nav))


def on_config(config: Any) -> Any:
    """Append to the navigation the pages it does not name, results apart, and the reference."""
    docs = Path(config.docs_dir)
    known = _pages(config.nav)
    others = sorted(str(p.relative_to(docs)) for p in docs.rglob("*.md"))
    others = [name for name in others if name not in known]
    results = next(part["Results"] for part in config.nav if "Results" in part)
    results += [name for name in others if name.startswith("results/")]
    if further := [name for name in others if not name.startswith("results/")]:
        config.nav.append({"Further": further})
    config.nav.append({"API": [{name: f"api/{name}.md"} for name in PAGES]})
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add one page for each part of the package."""
    for page, modules in PAGES.items():
        names = [name for module in modules for name in exported(module) or [module]]
        text = f"# {', '.join(modules)}\n\n" + "\n\n".join(f"::: {name}" for name in names)
        files.append(File.generated(config, f"api/{page}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Show links to what is no page (folders, files outside of docs/) as names, if it exists."""
    here = (ROOT / "docs" / page.file.src_uri).parent

    def shown(match: re.Match[str]) -> str:
        path = (here / match[2]).resolve()
        unwritten = path in WRITTEN and not path.exists()
        if path.is_relative_to(ROOT / "docs") and not path.is_dir() and not unwritten:
            return match[0]
        if unwritten:
            return match[1]
        if not path.exists():
            raise PluginError(f"{page.file.src_uri}: there is no {path.relative_to(ROOT)}")
        return match[1] if "`" in match[1] else f"`{match[1]}`"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(((?!\w+:)[^)#\s]+)\)", shown, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Make Sphinx's roles, which the docstrings use, links; no line breaks inside an option."""

    def linked(match: re.Match[str]) -> str:
        name = match[2]
        short = name.rsplit(".", 1)[-1] if match[1] else name
        if not name.startswith("frbench."):
            return f"<code>{short}</code>"
        return f'<autoref optional identifier="{name}"><code>{short}</code></autoref>'

    def whole(match: re.Match[str]) -> str:
        return re.sub(r"(?<=[\s>])--\w[\w.]*", r'<span class="option">\g<0></span>', match[0])

    html = re.sub(r":(?:func|class|meth|mod|attr|data):<code>(~?)([\w.]+)</code>", linked, html)
    return re.sub(r"<code>.*?</code>", whole, html, flags=re.DOTALL)
