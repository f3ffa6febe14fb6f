"""State that is staged in a step and committed after it."""

import pytest
import torch

from frbench.contracts.state import Staged


def test_staging_names_a_buffer_of_that_shape():
    staged = Staged()
    staged.register_buffer("q", torch.zeros(3))
    for values in ({"q": torch.zeros(())}, {"p": torch.zeros(3)}):
        with pytest.raises(ValueError, match="register it"):
            staged.stage(**values)
