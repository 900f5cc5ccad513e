"""Training of experts, manipulation network and perception; the only user of PyTorch."""
