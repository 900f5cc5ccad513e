"""From PyTorch to ONNX, checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from moe_robot_control.errors import MoeRobotControlError


def export_onnx(
    network: nn.Module,
    path: Path,
    example: Tensor,
    input_name: str,
    output_name: str,
    tolerance: float = 1e-5,
) -> None:
    """Write a network with a free batch size and compare it with PyTorch on `example`.

    Raises:
        MoeRobotControlError: the outputs differ by more than `tolerance`.
    """
    network = network.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        network,
        (example,),
        str(path),
        input_names=[input_name],
        output_names=[output_name],
        dynamic_axes={input_name: {0: "batch"}, output_name: {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(example).numpy()
    answer = session.run(None, {input_name: example.numpy()})[0]
    gap = float(np.abs(answer - expected).max())
    if gap > tolerance:
        raise MoeRobotControlError(f"{path}: ONNX and PyTorch differ by {gap:.2g}")
