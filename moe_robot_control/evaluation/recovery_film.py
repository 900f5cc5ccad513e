"""Film of recoveries: the mixture acts on rendered images while somebody interferes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from moe_robot_control.evaluation.film import Film
from moe_robot_control.policies.gating import HOLD_STEPS, sparsify
from moe_robot_control.policies.runtime import load_gate, load_mixture
from moe_robot_control.policies.spaces import (
    ACTION_HIGH,
    ACTION_LOW,
    DECISION_PERIOD,
    OBJECTS,
    SKILLS,
    gate_observation,
)
from moe_robot_control.world.cameras import CameraRenderer
from moe_robot_control.world.disturbances import KINDS
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.observers import CameraObserver

CAMERA = "left"
CAPTION_SECONDS = 4.0
"""For so long the film says what has happened."""


def film_recovery(
    path: Path, models: Path, kind: str, scenario: int, seeds: Sequence[int] = range(10_000, 10_010)
) -> int | None:
    """Film the first episode in which the mixture recovers from a disturbance.

    Args:
        path: of the MP4; a picture of the moment after the disturbance is written beside it.
        models: folder of the policies.
        kind: of disturbance, out of `KINDS`.
        scenario: 1 to 7.
        seeds: to try, in order.

    Returns:
        The seed, or None if none succeeded; then the last film shows a failure.
    """
    gate, experts = load_gate(models), load_mixture(models)
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        env = BenchVectorEnv(
            1, scenario=scenario, observer=CameraObserver, disturbed=1.0, disturbances=(kind,)
        )
        renderer = CameraRenderer(env.sim)
        observation, info = env.reset(seed=[seed])
        step, since = 0, None
        picture = None
        with Film(path, renderer.camera(CAMERA)) as film:
            while True:
                scene = info["scene"]
                if step % HOLD_STEPS == 0:
                    weights = sparsify(gate(observation))
                if since is None and info["disturbed"][0] >= 0:
                    since = step
                title = f"scenario {scenario}"
                if since is not None and (step - since) * DECISION_PERIOD < CAPTION_SECONDS:
                    title = KINDS[int(info["disturbed"][0])].replace("_", " ").upper()
                found = {
                    name: scene.positions[0, i]
                    for i, name in enumerate(OBJECTS)
                    if scene.known[0, i]
                }
                frame = film.add(
                    renderer.render(CAMERA),
                    found,
                    dict(zip(SKILLS, weights[0], strict=True)),
                    title,
                    step * DECISION_PERIOD,
                )
                if since is not None and step == since + 20:
                    picture = frame
                action = np.clip(experts(gate_observation(scene), weights), ACTION_LOW, ACTION_HIGH)
                observation, _, terminated, truncated, info = env.step(action)
                step += 1
                if terminated[0] or truncated[0]:
                    break
        renderer.close()
        if info["success"][0] and since is not None:
            if picture is not None:
                beside = str(path.with_suffix(".png"))
                cv2.imwrite(beside, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            return seed
    return None
