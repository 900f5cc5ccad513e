"""Parameters with descriptions, ranges and choices, checked at start and when set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter

from moe_robot_control.errors import MoeRobotControlError


class ParameterError(MoeRobotControlError):
    """A parameter was given a value that it cannot have."""


class Parameters:
    """The parameters of one node; `parameters["name"]` is the present value."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._values: dict[str, Any] = {}
        self._checks: dict[str, Callable[[Any], str]] = {}
        node.add_on_set_parameters_callback(self._validate)
        node.add_post_set_parameters_callback(self._store)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def declare(
        self,
        name: str,
        default: Any,
        description: str,
        low: float | None = None,
        high: float | None = None,
        choices: Sequence[str] | None = None,
        check: Callable[[Any], str] | None = None,
        fixed: bool = False,
    ) -> Any:
        """Declare a parameter and return its value.

        Args:
            name: the parameter.
            default: its value unless overridden; its type is the parameter's type.
            description: for `ros2 param describe`.
            low, high: range of a number.
            choices: the valid texts.
            check: returns why a value is bad, or an empty text.
            fixed: whether it cannot be set while the node runs.

        Raises:
            ParameterError: the given value is of another type, out of range or not a choice.
        """
        descriptor = ParameterDescriptor(description=description, read_only=fixed)
        if low is not None and high is not None:
            if isinstance(default, float):
                descriptor.floating_point_range = [
                    FloatingPointRange(from_value=float(low), to_value=float(high))
                ]
            else:
                descriptor.integer_range = [
                    IntegerRange(from_value=int(low), to_value=int(high), step=1)
                ]
        if choices is not None:
            shown = ", ".join(repr(choice) for choice in choices)
            descriptor.additional_constraints = f"one of {shown}"
            self._checks[name] = lambda value: (
                "" if value in choices else f"expected one of {shown}, not {value!r}"
            )
        if check is not None:
            self._checks[name] = check
        try:
            value = self._node.declare_parameter(name, default, descriptor).value
        except InvalidParameterValueException as error:
            reason = str(error).partition("Reason: ")[2].rpartition(": ")[0]
            if low is not None and high is not None:
                reason = f"expected {low} to {high}, not {reason.rpartition(' ')[2]}"
            raise ParameterError(f"parameter {name!r}: {reason}") from None
        except InvalidParameterTypeException as error:
            raise ParameterError(f"parameter {name!r}: {str(error).rpartition(': ')[0]}") from None
        self._values[name] = value
        return value

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            check = self._checks.get(parameter.name)
            reason = check(parameter.value) if check else ""
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _store(self, parameters: list[Parameter]) -> None:
        for parameter in parameters:
            self._values[parameter.name] = parameter.value
