"""``frbench export``: a trained model as one file that runs without frbench."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frbench.contracts.errors import UserError
from frbench.support.atomic import check_new, replacing, write_text
from frbench.support.parser import Parser
from frbench.support.progress import busy, loading

if TYPE_CHECKING:
    from torch import Tensor, nn

    from frbench.postprocessing import OutputMap

#: Largest difference of probabilities between the model and the exported file.
TOLERANCE = 1e-5

EXAMPLES = """\
examples:
  frbench export --to torch best.ckpt             best.pt2 and best.json
  frbench export --to onnx best.ckpt --out model.onnx

The file maps encoded inputs [B, ...] to class probabilities [B, C]. The JSON beside it says how
inputs are encoded: columns, levels, means, scales, classes.
"""


def main(argv: list[str]) -> int:
    """Run ``frbench export``.

    Raises:
        UserError: If an option or the checkpoint cannot be used, a package is missing, or the
            exported file computes something else.
    """
    parser = Parser(
        "frbench export",
        description="Export a trained model, and check the file by running it.",
        epilog=EXAMPLES,
    )
    parser.add_argument("ckpt_path", type=Path, help="checkpoint of frbench fit")
    parser.add_argument("--to", choices=("torch", "onnx"), required=True)
    parser.add_argument("--out", type=Path, help="file to write; default beside the checkpoint")
    parser.add_argument("--force", action="store_true", help="replace the file")
    args = parser.parse_args(argv)
    end = ".pt2" if args.to == "torch" else ".onnx"
    out = args.out or args.ckpt_path.with_suffix(end)
    if out.suffix != end:
        raise UserError(f"--out must end in {end}, got {out}.")
    for name in ("onnx", "onnxscript", "onnxruntime") if args.to == "onnx" else ():
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--to onnx needs the package {name}: pip install {name}.")
    check_new(out, out.with_suffix(".json"), force=args.force, reads=[args.ckpt_path])
    with loading():
        import torch

        from frbench.postprocessing.base import decided
        from frbench.runs.checkpoint import load
    model = load(args.ckpt_path)

    behind = model.postprocess

    class Probabilities(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.network
            self.behind = behind

        def forward(self, x: Tensor, *z: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            features, logits = self.model(x)
            if self.behind is None:
                only: Tensor = logits.softmax(1)
                return only
            logits, shares = decided(self.behind, logits, features, *z)
            return logits.softmax(1) if shares is None else (logits.softmax(1), shares)

    generator = torch.Generator().manual_seed(0)
    shape = (5, *model.input_shape)
    if model.vocab_size:
        x = torch.randint(1, model.vocab_size, shape, generator=generator)
    else:
        x = torch.rand(shape, generator=generator)
    given: tuple[Tensor, ...] = (x,)
    if behind is not None:
        z = torch.randint(-1, model.num_attributes, (len(x),), generator=generator)
        given = (x, z)
    if model.network(x)[1].shape[1] != model.num_classes:
        raise UserError(
            f"{type(model).__name__} turns the outputs of its network into classes by a rule of "
            "its own, which is not exported."
        )
    module = Probabilities().eval()
    with busy(f"exporting to {out}"), replacing(out) as part:
        difference = (_torch if args.to == "torch" else _onnx)(module, given, part)
        if not difference <= TOLERANCE:
            raise UserError(
                f"The exported file differs from the model by {difference:.2g}, more than "
                f"{TOLERANCE:g}; it is not written."
            )
    description = {
        "input": {
            "shape": ["B", *model.input_shape],
            "dtype": str(x.dtype).removeprefix("torch."),
        },
        "output": "probability of each class [B, C]",
        **(_description(behind) if behind is not None else {}),
        "largest_difference": difference,
        "attribute_use": model.attribute_use or "none",
        "encoding": model.encoding.learnt,
    }
    write_text(out.with_suffix(".json"), json.dumps(description, indent=1) + "\n")
    print(f"written to {out}; run on 5 inputs, it differs from the model by {difference:.1e}")
    return 0


def _description(behind: OutputMap) -> dict[str, str]:
    """Say what a model with a map behind it takes and gives beside the rest."""
    return {
        "second_input": "attribute of each row, -1 where unknown [B]"
        + ("" if behind.reads_attribute else "; it is not looked at"),
        "second_output": f"probability of each decision [B, C], by {type(behind).__name__}, where "
        "it decides otherwise than by the largest probability",
    }


def _torch(module: nn.Module, given: tuple[Tensor, ...], path: Path) -> float:
    """Export by torch.export; return the largest difference of the file's outputs."""
    import torch

    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(module, given, dynamic_shapes=_shapes(given, batch))
    torch.export.save(program, path)
    again = torch.export.load(path).module()
    with torch.no_grad():
        return max(
            float((a - b).abs().max())
            for part in (given, tuple(value[:2] for value in given))
            for a, b in zip(_each(again(*part)), _each(module(*part)), strict=True)
        )


def _each(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return one output or several as a tuple."""
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _shapes(given: tuple[Tensor, ...], batch: Any) -> dict[str, Any]:
    """Say that the first dimension of every input is the number of rows."""
    named: dict[str, Any] = {"x": {0: batch}}
    return named | ({"z": ({0: batch},)} if len(given) > 1 else {})


def _onnx(module: nn.Module, given: tuple[Tensor, ...], path: Path) -> float:
    """Export to ONNX; return the largest difference of the file's outputs."""
    import onnxruntime
    import torch

    batch = torch.export.Dim("batch", min=1)
    program = torch.onnx.export(
        module, given, dynamo=True, dynamic_shapes=_shapes(given, batch), verbose=False
    )
    assert program is not None
    program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    largest = 0.0
    for part in (given, tuple(value[:2] for value in given)):
        inputs = zip(session.get_inputs(), part, strict=True)
        found = session.run(None, {i.name: value.numpy() for i, value in inputs})
        with torch.no_grad():
            pairs = list(zip(found, _each(module(*part)), strict=True))
        largest = max(largest, *(float(abs(a - b.numpy()).max()) for a, b in pairs))
    return largest
