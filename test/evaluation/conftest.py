"""What all tests of evaluations begin with."""

import pytest


@pytest.fixture(autouse=True)
def quick(few_handovers: None) -> None:
    """Without what takes long to make."""
