"""A run that is built as ``frbench fit`` builds it and trained by others."""

from typing import Any

from frbench.runs.cli import FrbenchCLI


class Prepared(FrbenchCLI):
    """A command line that builds a run and leaves its training to others."""

    begins = False

    def fit(self, **kwargs: Any) -> None:
        """Keep the options that the trainer was built with, callbacks as the user gave them."""
        given = self._get(self.config, "trainer").callbacks
        built = self._get(self.config_init, "trainer")
        self.trainer_options: dict[str, Any] = {**dict(built.items()), "callbacks": given}
