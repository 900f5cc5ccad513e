"""The policies under models/ do their work on seeds that no demonstration has."""

from __future__ import annotations

import pytest

from moe_robot_control.evaluation.policies_in_simulation import expert, mixture, run_in_simulation
from moe_robot_control.policies.spaces import SKILLS
from moe_robot_control.share import share_path
from moe_robot_control.world.disturbances import KINDS
from moe_robot_control.world.observers import ErrorModel

SEEDS = range(10)
NOISE = {"errors": ErrorModel(position_bias=0.002, position_noise=0.0015)}
"""About what the cameras leave of the truth [m]."""


@pytest.mark.parametrize("skill", SKILLS)
def test_committed_expert_does_its_skill(skill: str) -> None:
    outcomes = run_in_simulation(
        expert(share_path("models/policies"), skill), list(SEEDS), skill=skill, **NOISE
    )
    # one in ten may fail under this noise: physics differ a little between processors
    assert sum(outcome.success for outcome in outcomes) >= len(SEEDS) - 1


def test_committed_mixture_does_the_last_skill() -> None:
    outcomes = run_in_simulation(
        mixture(share_path("models/policies")), list(SEEDS), scenario=1, **NOISE
    )
    assert sum(outcome.success for outcome in outcomes) >= len(SEEDS) - 1


@pytest.mark.parametrize(("policy", "failures"), [("soft_modular", 4), ("mix_and_match", 1)])
@pytest.mark.parametrize("skill", SKILLS)
def test_committed_shared_policy_does_every_skill(skill: str, policy: str, failures: int) -> None:
    controller = expert(share_path("models/policies"), skill, shared=policy)
    outcomes = run_in_simulation(controller, list(SEEDS), skill=skill, **NOISE)
    assert sum(outcome.success for outcome in outcomes) >= len(SEEDS) - failures


@pytest.mark.parametrize("kind", KINDS)
def test_committed_mixture_recovers(kind: str) -> None:
    outcomes = run_in_simulation(
        mixture(share_path("models/policies")),
        list(SEEDS),
        scenario=2,
        disturbed=1.0,
        disturbances=(kind,),
        **NOISE,
    )
    disturbed = [outcome for outcome in outcomes if outcome.disturbance]
    assert len(disturbed) >= len(SEEDS) / 2
    assert sum(outcome.success for outcome in disturbed) >= 0.7 * len(disturbed)


def test_committed_mixture_sees_through_noise() -> None:
    outcomes = run_in_simulation(
        mixture(share_path("models/policies")),
        list(SEEDS),
        scenario=4,
        errors=ErrorModel(position_bias=0.0015, position_noise=0.01),
    )
    assert sum(outcome.success for outcome in outcomes) >= 0.8 * len(SEEDS)
