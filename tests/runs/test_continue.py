"""A run that is continued keeps its data and refuses other data."""

import pytest
from trainers import trainer

from frbench.__main__ import main
from frbench.contracts.errors import UserError
from frbench.data import TwoGaussians
from frbench.networks import MLP
from frbench.objectives import ERM

pytestmark = pytest.mark.filterwarnings("ignore::frbench.callbacks.sanity.SanityWarning")
FIT = ["fit", "--data=TwoGaussians", "--data.n=200", "--data.balance=joint", "--run_dir=run",
       "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_epochs=1",
       "--trainer.enable_progress_bar=false"]  # fmt: skip


CONTINUE = ["fit", "--ckpt_path=run/checkpoints/last.ckpt", "--trainer.max_epochs=2",
            "--trainer.accelerator=cpu", "--trainer.devices=1"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of one epoch; a refused command leaves it as it is."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(FIT) == 0
    return folder


def test_a_continued_run_keeps_its_data(in_tmp, capsys):
    assert main(FIT) == 0
    capsys.readouterr()
    assert main(CONTINUE) == 0
    assert "balance: joint via sample" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change", ["--data=Digits", "--data.n=300", "--data.balance=class", "--data.batch_size=64",
               "--data.seed=3"],
)  # fmt: skip
def test_a_run_is_not_continued_on_other_data(trained, monkeypatch, capsys, change):
    monkeypatch.chdir(trained)
    assert main([*CONTINUE, change]) == 2
    assert "differs from your options in data" in capsys.readouterr().err


def test_python_is_not_continued_on_other_data_either(tmp_path):
    model = ERM(2, 2, [2], network=MLP(hidden=[]))
    run = trainer()
    run.fit(model, datamodule=TwoGaussians(n=64, batch_size=16))
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = ERM(2, 2, [2], network=MLP(hidden=[]))
    with pytest.raises(UserError, match=r"data\.n: checkpoint 64, given 80"):
        trainer(max_epochs=2).fit(again, datamodule=TwoGaussians(n=80, batch_size=16),
                                  ckpt_path=tmp_path / "x.ckpt", weights_only=True)  # fmt: skip
