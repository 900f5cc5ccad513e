"""Memory of the scene: what is hidden is not forgotten, and follows the fingers."""

import numpy as np
import pytest

from moe_robot_control.policies.furniture import VIAL_WIDTH
from moe_robot_control.policies.memory import SceneMemory
from moe_robot_control.policies.spaces import OBJECTS
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.teachers import teach

VIAL, BUTTON = OBJECTS.index("vial"), OBJECTS.index("button")


def test_unseen_is_unknown_and_seen_is_kept() -> None:
    memory = SceneMemory()
    assert not memory.scene(np.zeros(3), 0.08).known.any()
    memory.update({"rack": np.array([0.5, 0.1, 0.05])})
    memory.update({})
    scene = memory.scene(np.zeros(3), 0.08)
    assert scene.known.sum() == 1
    np.testing.assert_array_equal(scene.positions[OBJECTS.index("rack")], [0.5, 0.1, 0.05])


@pytest.mark.parametrize(("width", "moves"), [(0.024, True), (0.08, False), (0.0, False)])
def test_a_hidden_vial_moves_only_with_fingers_that_hold_it(width: float, moves: bool) -> None:
    memory = SceneMemory()
    memory.update({"vial": np.array([0.4, 0.0, 0.1])})
    memory.scene(np.array([0.4, 0.0, 0.08]), width)
    memory.update({})
    scene = memory.scene(np.array([0.42, 0.01, 0.12]), width)
    expected = [0.42, 0.01, 0.14] if moves else [0.4, 0.0, 0.1]
    np.testing.assert_allclose(scene.positions[VIAL], expected)


def carry(memory: SceneMemory, looks: list[np.ndarray | None]) -> list[np.ndarray]:
    """Errors of a vial 2 cm above fingers that move, seen with these errors or not at all."""
    errors = []
    for step, error in enumerate(looks):
        tip = np.array([0.4 + 0.01 * step, 0.0, 0.1])
        truth = tip + [0.0, 0.0, 0.02]
        memory.update({} if error is None else {"vial": truth + error})
        errors.append(memory.scene(tip, VIAL_WIDTH).positions[VIAL] - truth)
    return errors


def test_a_wrong_last_look_at_a_held_vial_does_not_count() -> None:
    right, wrong = np.zeros(3), np.array([-0.004, 0.012, -0.010])
    errors = carry(SceneMemory(), [right] * 5 + [wrong] * 2 + [None] * 10)
    np.testing.assert_allclose(errors, 0.0, atol=1e-12)


def test_a_vial_that_slips_is_followed() -> None:
    slipped = np.array([0.0, 0.0, -0.01])
    errors = carry(SceneMemory(), [np.zeros(3)] * 9 + [slipped] * 5 + [None] * 3)
    np.testing.assert_allclose(errors[-4:], np.tile(slipped, (4, 1)), atol=1e-12)


def test_what_was_in_the_fingers_is_forgotten_when_they_open() -> None:
    memory = SceneMemory()
    carry(memory, [np.array([0.005, 0.0, 0.0])] * 5)
    place = np.array([0.44, 0.0, 0.12])
    for width in (VIAL_WIDTH + 0.02, VIAL_WIDTH):
        memory.update({"vial": place})
        scene = memory.scene(np.array([0.44, 0.0, 0.1]), width)
        np.testing.assert_allclose(scene.positions[VIAL], place)


def test_a_hidden_button_goes_down_with_the_fingers() -> None:
    memory = SceneMemory()
    memory.update({"button": np.array([0.34, 0.22, 0.06])})
    memory.update({})
    assert memory.scene(np.array([0.34, 0.22, 0.1]), 0.0).positions[BUTTON, 2] == 0.06
    assert memory.scene(np.array([0.40, 0.22, 0.04]), 0.0).positions[BUTTON, 2] == 0.06
    pressed = memory.scene(np.array([0.34, 0.22, 0.045]), 0.0).positions[BUTTON, 2]
    assert pressed == pytest.approx(0.035)


def test_a_seen_button_is_no_lower_than_what_presses_it() -> None:
    memory = SceneMemory()

    def height(seen: float, tip: list[float]) -> float:
        memory.update({"button": np.array([0.34, 0.22, seen])})
        return memory.scene(np.array(tip), 0.0).positions[BUTTON, 2]

    assert height(0.06, [0.34, 0.22, 0.2]) == 0.06
    # the hand hides half of it
    assert height(0.048, [0.34, 0.22, 0.09]) == 0.06
    assert height(0.040, [0.34, 0.22, 0.06]) == pytest.approx(0.05)
    assert height(0.045, [0.34, 0.22, 0.05]) == 0.045
    # it stays down, and is believed where nothing hides it
    assert height(0.041, [0.34, 0.22, 0.09]) == 0.045
    assert height(0.041, [0.5, 0.22, 0.2]) == 0.041


@pytest.mark.parametrize(
    ("skill", "handle", "furniture"),
    [("rotate_door", "door_handle", "cabinet"), ("pull_drawer", "drawer_handle", "chest")],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_hidden_handle_goes_with_the_fingers_that_pull_it(
    skill: str, handle: str, furniture: str, seed: int
) -> None:
    env = BenchVectorEnv(1, skill=skill)
    _, info = env.reset(seed=seed)
    index = OBJECTS.index(handle)
    start = env.sim.object_positions()[0, index]
    memory, done = SceneMemory(), False
    while not done:
        true = env.sim.object_positions()[0]
        seen = {furniture: true[OBJECTS.index(furniture)]}
        if env.sim.end_effector[0, 2] > start[2]:
            seen[handle] = true[index]
        memory.update(seen)
        known = memory.scene(env.sim.end_effector[0], float(env.sim.gripper_width[0]))
        assert np.linalg.norm(known.positions[index] - true[index]) < 0.012
        _, _, terminated, _, info = env.step(teach(skill, info["scene"]))
        done = bool(terminated[0])
    assert np.linalg.norm(true[index] - start) > 0.05


def test_fingers_before_a_handle_leave_it() -> None:
    memory = SceneMemory()
    memory.update({"drawer_handle": np.array([0.4, -0.3, 0.08])})
    memory.update({})
    before = memory.scene(np.array([0.39, -0.3, 0.07]), 0.0).positions
    above = memory.scene(np.array([0.41, -0.3, 0.09]), 0.0).positions
    behind = memory.scene(np.array([0.41, -0.3, 0.07]), 0.0).positions
    index = OBJECTS.index("drawer_handle")
    assert before[index, 0] == above[index, 0] == 0.4
    assert behind[index, 0] == pytest.approx(0.393)


def test_bad_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown object 'cup'"):
        SceneMemory().update({"cup": np.zeros(3)})
    with pytest.raises(ValueError, match="'vial' is not three finite numbers"):
        SceneMemory().update({"vial": np.array([0.0, np.nan, 0.0])})
