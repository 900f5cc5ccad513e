"""What all tests of learning begin with."""

import pytest
import torch


@pytest.fixture(autouse=True)
def reproducible(few_handovers: None) -> None:
    """The same numbers on every machine."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
