"""Objects written as class path and arguments."""

import numpy as np
import pytest
import torch

from frbench.contracts.errors import UserError
from frbench.contracts.spec import to_spec
from frbench.objectives import GroupDRO


def test_numpy_numbers_and_paths_are_written_as_they_are(tmp_path):
    model = GroupDRO(2, 2, [2], eta=np.float32(0.5))
    assert to_spec(model)["init_args"]["eta"] == 0.5
    assert to_spec({"a": np.int64(3), "p": tmp_path}) == {"a": 3, "p": str(tmp_path)}
    for value in (torch.zeros(2), np.zeros(2), print):
        with pytest.raises(UserError, match="cannot be written"):
            to_spec(value)
