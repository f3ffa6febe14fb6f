"""Options read before Lightning's parser sees them."""

import shlex
from pathlib import Path

import pytest
from command import QUICK, SMALL, run

from frbench.runs.checkpoint import read_checkpoint, read_description
from frbench.runs.options import command_to_continue

OWN = """
from frbench.metrics import metric
from frbench.objectives import ERM

class Own(ERM):
    pass

@metric(higher_is_better=True)
def share(counts):
    return counts[1].sum() / counts.sum()
"""


@pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
def test_the_command_that_continues_a_run_is_exact(in_tmp, monkeypatch):
    """Values of their own words, appended lists, spaces, own classes and a word for the data."""
    Path("own_parts.py").write_text(OWN)
    monkeypatch.syspath_prepend(in_tmp)
    words = ["fit", *SMALL, *QUICK, "--model", "own_parts.Own", "--metrics+=own_parts.share",
             "--model.penalties+=ConditionalMMD", "--trainer.callbacks+=EncodingProbe",
             "--run_dir", "my run", "--data.changed_data", "accept",
             "--trainer.limit_train_batches=2"]  # fmt: skip
    run(*words)
    last = Path("my run/checkpoints/last.ckpt").resolve()
    assert read_checkpoint(last)["global_step"] == 2
    said = command_to_continue(words, last, read_description(last))
    assert said == shlex.join(
        ["frbench", "fit", *QUICK, "--trainer.callbacks+=EncodingProbe", "--run_dir", "my run",
         "--data.changed_data", "accept", "--trainer.limit_train_batches=2",
         "--ckpt_path", "my run/checkpoints/last.ckpt", "--trust", "own_parts"]
    )  # fmt: skip
    again = said.replace("max_epochs=1 ", "max_epochs=2 ")
    run(*shlex.split(again)[1:])
    assert read_checkpoint(last)["global_step"] == 4
    assert command_to_continue(shlex.split(again)[1:-2], last, read_description(last)) == again
