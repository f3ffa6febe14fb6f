"""A queue whose cells are the trials of Optuna's search: asked for when there is room for more."""

from __future__ import annotations

import contextlib
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from frbench.contracts.errors import UserError
from frbench.grids.grid import Cell
from frbench.grids.queue import Queue
from frbench.grids.study import Plan, Study
from frbench.report.records import Results
from frbench.support.lazy import import_extra

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna import Trial
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

#: Retries of a trial whose worker gave no sign of life.
RETRIES = 3
#: Journal file of a study that names no database.
JOURNAL = "journal.log"


def open_storage(place: str, heartbeat: int) -> BaseStorage:
    """Open a storage of Optuna.

    Args:
        place: URL of a database, or path of a journal file.
        heartbeat: Seconds between two signs of life of a trial in a database; one that has given
            none for twice as long is retried.

    Raises:
        UserError: If the database cannot be reached.
    """
    optuna = import_extra("optuna", "A search needs", "tune")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage: BaseStorage
    try:
        with quiet():
            if "://" in place:
                again = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
                storage = optuna.storages.RDBStorage(
                    place, heartbeat_interval=heartbeat, grace_period=2 * heartbeat,
                    heartbeat_stale_trial_callback=again,
                )  # fmt: skip
            else:
                file = optuna.storages.journal.JournalFileBackend(place)
                storage = optuna.storages.JournalStorage(file)
        return storage
    except Exception as error:  # of whatever driver the URL names
        text = " ".join(str(error).split()).replace(place, "the URL")
        kind = place.partition("://")[0]
        raise UserError(f"search.storage: cannot open {kind}://...: {text:.300}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop Optuna's warnings that heartbeat, ask and tell may change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def watch(place: str, name: str, trial: int, plan: Plan) -> Any:
    """Make the callback that prunes a trial, in the process that runs it."""
    from frbench.grids.pruning import PruneTrial

    return PruneTrial(open_storage(place, plan.heartbeat), name, trial, plan)


class Asker:
    """Asks Optuna for settings of one method and tells it what came out.

    Args:
        study: The method and its space.
        storage: Where the trials are kept.
        alone: Whether nobody else works on this storage: trials that have begun are continued.
    """

    def __init__(self, study: Study, storage: BaseStorage, alone: bool) -> None:
        import optuna
        from optuna.study import StudyDirection

        self.plan, self.study, self.storage, self.alone = study.plan, study, storage, alone
        self.open: dict[int, tuple[Trial, list[Cell]]] = {}  # by id
        ways = [StudyDirection.MAXIMIZE if rule.sign > 0 else StudyDirection.MINIMIZE
                for rule in self.plan.objectives]  # fmt: skip
        with quiet():
            self.trials: OptunaStudy = optuna.create_study(
                storage=storage, study_name=study.name, directions=ways, load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(0),
            )  # fmt: skip
            if self.plan.sampler == "grid":
                for point in study.points():
                    self.trials.enqueue_trial(self._written(point), skip_if_exists=True)
        begun = self._all("RUNNING") if alone else []
        for trial in begun:
            self._begin(optuna.Trial(self.trials, trial._trial_id))

    def _all(self, *states: str) -> list[FrozenTrial]:
        found = self.trials.get_trials(deepcopy=False)
        return [t for t in found if not states or t.state.name in states]

    def ask(self) -> bool:
        """Take a trial that waits to be retried, or else begin a new one; False if none is left.

        The draws depend on the seed and on the number of the trial alone: a search that is
        continued goes on as it would have done.
        """
        import optuna

        with quiet():
            optuna.storages.fail_stale_trials(self.trials)
            found = self._all()
            retried = sum("failed_trial" in trial.system_attrs for trial in found)
            if len(found) - retried >= self.plan.trials and not self._all("WAITING"):
                return False
            self.trials.sampler = self._sampler(len(found))
            trial = self.trials.ask()
            # Of drivers that asked at the same time each has a number of its own.
            self.trials.sampler = self._sampler(trial.number)
            self._begin(trial)
        return True

    def _begin(self, trial: Trial) -> None:
        if not self.alone:
            self.storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
        settings = {key: self._suggest(trial, key) for key in self.study.space}
        self.open[trial._trial_id] = trial, self.study.cells(settings)

    def _suggest(self, trial: Trial, key: str) -> Any:
        kind, values = self.study.space[key]
        if kind == "choice":
            return values[trial.suggest_categorical(key, range(len(values)))]
        if kind == "int_uniform":
            return trial.suggest_int(key, *values)
        return trial.suggest_float(key, *values, log=kind == "log_uniform")

    def _written(self, point: dict[str, Any]) -> dict[str, Any]:
        """Write a setting as Optuna's parameters: a choice is the index of its value."""
        choices = {key: values for key, (kind, values) in self.study.space.items()
                   if kind == "choice"}  # fmt: skip
        return {k: choices[k].index(v) if k in choices else v for k, v in point.items()}

    def _sampler(self, number: int) -> Any:
        from optuna import samplers

        seed = zlib.crc32(f"{self.plan.seed} {number}".encode())
        if self.plan.sampler == "tpe":
            return samplers.TPESampler(seed=seed)
        if self.plan.sampler == "nsga2":  # at least ten generations, where there are trials for it
            size = min(50, max(4, self.plan.trials // 10))
            return samplers.NSGAIISampler(population_size=size, seed=seed)
        return samplers.RandomSampler(seed)

    def settle(self, queue: Queue) -> None:
        """Tell Optuna of the trials whose runs are done."""
        heads = queue.results.heads()
        for number, (trial, cells) in list(self.open.items()):
            if not any(queue.is_open(cell) for cell in cells):
                found = [heads[cell.key].record() or {"status": "failed"} for cell in cells]
                with quiet():
                    self._tell(trial, found)
                del self.open[number]

    def _tell(self, trial: Trial, records: list[dict[str, Any]]) -> None:
        from optuna.trial import TrialState

        if self.storage.get_trial(trial._trial_id).state.is_finished():
            return  # it was taken for lost, and is retried by another driver
        trial.set_user_attr("runs", [record.get("cell") for record in records])
        states = {record["status"] for record in records}
        if states == {"pruned"}:
            self.trials.tell(trial.number, state=TrialState.PRUNED)
            return
        values = [float("nan")]
        if states == {"ok"}:
            tables = [{k: np.nan if v is None else float(v) for k, v in record["metrics"].items()}
                      for record in records]  # fmt: skip
            values = [fmean(map(rule.value, tables)) for rule in self.plan.objectives]
            for limit in self.plan.constraints:
                excess = limit.excess(fmean(map(limit.rule.value, tables)))
                trial.set_constraint(limit.text, excess)
        if np.isnan(values).any():  # an objective without a value is no result either
            self.trials.tell(trial.number, state=TrialState.FAIL)
        else:
            self.trials.tell(trial.number, values)

    def done(self) -> int:
        """Number of trials that are over and not retried."""
        return len(self._all("COMPLETE", "PRUNED", "FAIL")) - sum(
            "failed_trial" in trial.system_attrs for trial in self._all()
        )

    def best(self) -> list[FrozenTrial]:
        """Return the best trial, or those of the Pareto front; constraints are kept."""
        found = sorted(self.trials.best_trials, key=lambda trial: trial.number)
        return found if len(self.plan.objectives) > 1 else found[:1]

    def settings(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the options of a trial."""
        return {
            key: values[trial.params[key]] if kind == "choice" else trial.params[key]
            for key, (kind, values) in self.study.space.items()
        }


class Search(Queue):
    """The cells of the trials of several studies; see :class:`~frbench.grids.queue.Queue`.

    Args:
        studies: One for each method.
        out: Folder of results.
        results: Records of the trials.
    """

    ahead = 0  # a trial that is drawn later knows more results

    def __init__(self, studies: Sequence[Study], out: Path, results: Results) -> None:
        super().__init__([], out, results)
        plan = studies[0].plan
        self._place, self._beat = plan.storage or str(out / JOURNAL), plan.heartbeat
        self._storage = open_storage(self._place, self._beat)
        alone = plan.storage is None
        self.askers = [Asker(study, self._storage, alone) for study in studies]

    def offers(self) -> Iterator[Cell | None]:
        """Yield the cells of the open trials; a new trial begins when they have been offered.

        Trials of other drivers are waited for: one that stops beating is retried here.
        """
        while True:
            for asker in self.askers:
                asker.settle(self)
                for _, cells in list(asker.open.values()):
                    yield from filter(self.is_open, cells)
                asker.settle(self)
            if not any(asker.ask() for asker in self.askers):
                if not any(asker.open or asker._all("RUNNING") for asker in self.askers):
                    return
                yield None

    def examples(self) -> list[Cell]:
        """Return cells with each value of each choice."""
        return [cell for asker in self.askers for cell in asker.study.samples()]

    def watchers(self, cell: Cell) -> Sequence[Callable[[], Any]]:
        """Return what prunes a cell, if the study says so."""
        return [
            partial(watch, self._place, asker.study.name, number, asker.plan)
            for asker in self.askers
            for number, (_, cells) in asker.open.items()
            if asker.plan.prune is not None and cell.key in {c.key for c in cells}
        ][:1]

    def done(self) -> int:
        """Number of trials that are over."""
        return sum(asker.done() for asker in self.askers)

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Give signs of life of the open trials, for as long as this lasts."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(self._beat):
                for asker in self.askers:
                    for number in list(asker.open):
                        with contextlib.suppress(Exception):  # the database may be back in time
                            self._storage.record_heartbeat(number)  # type: ignore[attr-defined]

        thread = threading.Thread(target=beat, daemon=True)
        if not self.askers[0].alone:
            thread.start()
        try:
            yield
        finally:
            over.set()
