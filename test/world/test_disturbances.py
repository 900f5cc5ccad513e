"""Disturbances of a running job: what each does, and that the teacher recovers from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest

from moe_robot_control.policies.furniture import VIAL_WIDTH
from moe_robot_control.policies.spaces import SKILLS
from moe_robot_control.world.disturbances import (
    BESIDE,
    CLEAR,
    DRAWER,
    KINDS,
    MOVABLE,
    SHIFT,
    SLIP_STEPS,
    DisturbanceError,
)
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.simulation import BenchSimulation
from moe_robot_control.world.tasks import PREDICATES, SUCCESS, VIAL_HALF_LENGTH, BenchTask
from moe_robot_control.world.teachers import teach_stage

SEEDS = tuple(range(16))
PARTS = tuple(MOVABLE)
INSERT, BUTTON = SKILLS.index("pick_and_insert"), SKILLS.index("push_button")


@dataclass(frozen=True)
class Record:
    """All decisions of some episodes; leading axes time (the reset first) and episode.

    Attributes:
        stage, happened, slipping, drawer, width: as in the environment.
        parts: `PARTS`, horizontally. Shape (T, n, 4, 2).
        vial, tip: positions. Shape (T, n, 3).
        joints: of the arm. Shape (T, n, 7).
        success: of the episodes. Shape (n,).
        length: decisions until each ended. Shape (n,).
    """

    stage: np.ndarray
    happened: np.ndarray
    slipping: np.ndarray
    drawer: np.ndarray
    width: np.ndarray
    parts: np.ndarray
    vial: np.ndarray
    tip: np.ndarray
    joints: np.ndarray
    success: np.ndarray
    length: np.ndarray

    def moment(self, i: int) -> int:
        """The decision in which episode i was disturbed."""
        return int(np.argmax(self.happened[:, i] >= 0))


@cache
def episodes(seeds: tuple[int, ...] = SEEDS, scenario: int = 4, **options: object) -> Record:
    """Episodes of the teacher."""
    env = BenchVectorEnv(
        len(seeds), scenario=scenario, reward="sparse", num_threads=1, **dict(options)
    )
    sim = env.sim
    _, info = env.reset(seed=list(seeds))
    rows: list[tuple[np.ndarray, ...]] = []
    success, length = np.zeros(len(seeds), dtype=bool), np.zeros(len(seeds), dtype=int)

    def note() -> None:
        now = (
            info["stage"],
            info["disturbed"],
            env.disturbances.slipping,
            sim.joint("chest/drawer"),
            sim.gripper_width,
            np.stack([sim.body_position(f"{part}/{part}")[:, :2] for part in PARTS], axis=1),
            sim.body_position("vial/vial"),
            sim.end_effector,
            sim.joint_positions,
        )
        rows.append(tuple(np.array(values) for values in now))

    note()
    running = np.ones(len(seeds), dtype=bool)
    while running.any():
        _, _, terminated, truncated, info = env.step(teach_stage(info["stage"], info["scene"]))
        note()
        ended = running & (terminated | truncated)
        success |= ended & info["success"]
        length[ended] = len(rows) - 1
        running &= ~ended
        env.stop(~running)
    return Record(*map(np.stack, zip(*rows, strict=True)), success, length)


def disturbed(*kinds: str, **options: object) -> Record:
    return episodes(disturbed=1.0, disturbances=kinds or KINDS, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_happens_once_and_the_teacher_recovers(kind: str) -> None:
    record = disturbed(kind)
    for i, end in enumerate(record.length):
        own = record.happened[: end + 1, i]
        assert own[0] == -1 and own[-1] == KINDS.index(kind)
        assert np.count_nonzero(np.diff(own)) == 1
    assert record.success.mean() >= 0.9


def test_a_drawer_is_pushed_shut() -> None:
    record = disturbed("drawer_shut")
    for i in range(len(SEEDS)):
        t = record.moment(i)
        assert record.drawer[t - 1, i] > SUCCESS.drawer and record.drawer[t, i] < 0.005
        assert record.stage[t - 1, i] > DRAWER == record.stage[t, i]
        # it is opened again, and the rest is not to be done twice
        back = t + int(np.argmax(record.stage[t:, i] > DRAWER))
        assert record.drawer[back, i] > SUCCESS.drawer
        assert record.stage[back, i] >= record.stage[t - 1, i]


def test_a_part_is_moved_and_the_vial_with_it() -> None:
    record = disturbed("object_moved")
    with_vial, seen = 0, set()
    for i in range(len(SEEDS)):
        t = record.moment(i)
        shift = record.parts[t, i] - record.parts[t - 1, i]
        (part,) = np.flatnonzero(np.abs(shift).max(axis=-1) > 1e-6)
        seen.add(PARTS[part])
        assert SHIFT[0] <= np.linalg.norm(shift[part]) <= SHIFT[1]
        # still needed, and nobody reaches under the hand
        assert record.stage[t - 1, i] <= SKILLS.index(MOVABLE[PARTS[part]])
        before = record.parts[t - 1, i, part]
        assert np.linalg.norm(before - record.tip[t - 1, i, :2]) > CLEAR
        went = record.vial[t, i] - record.vial[t - 1, i]
        if np.linalg.norm(record.vial[t - 1, i, :2] - before) < BESIDE:
            with_vial += 1
            np.testing.assert_allclose(went, [*shift[part], 0.0], atol=0.002)
        elif record.width[t, i] > 0.04:
            assert np.abs(went).max() < 0.002
        # never before or after
        others = np.delete(np.diff(record.parts[: record.length[i] + 1, i], axis=0), t - 1, axis=0)
        assert np.abs(others).max() < 1e-6
    assert with_vial and len(seen) >= 3


def test_fingers_are_forced_open_and_the_vial_falls() -> None:
    record = disturbed("vial_dropped")
    for i in range(len(SEEDS)):
        t = record.moment(i)
        assert abs(record.width[t - 1, i] - VIAL_WIDTH) < 0.004
        assert record.slipping[: record.length[i] + 1, i].sum() == SLIP_STEPS
        assert record.slipping[t : t + SLIP_STEPS, i].all()
        after = slice(t, t + SLIP_STEPS + 4)
        assert record.width[after, i].max() > 0.05
        lifted = record.vial[t - 1, i, 2]
        assert record.vial[after, i, 2].min() < lifted - 0.002


def test_until_it_is_disturbed_an_episode_is_as_it_would_have_been() -> None:
    record, calm = disturbed("object_moved"), episodes(SEEDS[:3])
    for i in range(3):
        t = record.moment(i)
        np.testing.assert_array_equal(record.joints[:t, i], calm.joints[:t, i])


def test_equal_seeds_give_equal_episodes() -> None:
    one, other = disturbed(seeds=(2, 3, 4)), disturbed(seeds=(4, 3, 2))
    np.testing.assert_array_equal(one.length, other.length[::-1])
    for i, end in enumerate(one.length):
        for name in ("stage", "happened", "joints", "vial", "parts"):
            np.testing.assert_array_equal(
                getattr(one, name)[: end + 1, i], getattr(other, name)[: end + 1, 2 - i]
            )


def test_kinds_are_drawn() -> None:
    record = disturbed(seeds=(2, 3, 4))
    assert (record.happened[-1] >= 0).all() and len(set(record.happened[-1])) > 1


def test_probability_zero_is_never() -> None:
    zero, without = episodes(SEEDS[:3], disturbed=0.0), episodes(SEEDS[:3])
    assert (zero.happened == -1).all() and not zero.slipping.any()
    np.testing.assert_array_equal(zero.joints, without.joints)
    np.testing.assert_array_equal(zero.vial, without.vial)
    assert zero.success.all()


def test_a_drawer_that_stood_open_from_the_start_is_opened_again() -> None:
    record = disturbed("drawer_shut", seeds=(0, 1, 2), scenario=2)
    assert record.success.all()
    shut = np.flatnonzero((record.happened >= 0).any(axis=0))
    assert len(shut) >= 2
    for i in shut:
        assert record.stage[0, i] == BUTTON and record.stage[record.moment(i), i] == DRAWER


@pytest.mark.parametrize(
    ("skill", "kinds", "expected"),
    [
        ("rotate_door", ("drawer_shut",), -1),
        ("push_button", ("vial_dropped", "drawer_shut"), -1),
        ("pick_and_drop", ("drawer_shut", "vial_dropped"), KINDS.index("vial_dropped")),
    ],
)
def test_what_cannot_happen_is_not_planned(
    skill: str, kinds: tuple[str, ...], expected: int
) -> None:
    """Alone it never happens; beside another kind it does not take that one's place."""
    env = BenchVectorEnv(4, skill=skill, disturbed=1.0, disturbances=kinds, num_threads=1)
    _, info = env.reset(seed=0)
    ended = np.zeros(4, dtype=bool)
    while not ended.all():
        _, _, terminated, truncated, info = env.step(teach_stage(info["stage"], info["scene"]))
        ended |= terminated | truncated
        env.stop(ended)
    assert info["disturbed"].tolist() == [expected] * 4


def test_what_others_undo_is_not_the_policys_loss() -> None:
    env = BenchVectorEnv(2, scenario=4, disturbed=1.0, disturbances=("drawer_shut",), num_threads=1)
    _, info = env.reset(seed=0)
    seen = np.zeros(2, dtype=bool)
    while not seen.all():
        stage, before = info["stage"], info["disturbed"]
        _, rewards, _, _, info = env.step(teach_stage(stage, info["scene"]))
        now = info["disturbed"] != before
        assert (info["stage"][now] < stage[now]).all()
        assert (rewards > -0.3).all()
        seen |= now


def test_unknown_kind() -> None:
    with pytest.raises(DisturbanceError, match="'earthquake'"):
        BenchVectorEnv(1, scenario=1, disturbances=("vial_dropped", "earthquake"))


@dataclass
class Bench:
    """One bench whose results are brought about by hand."""

    sim: BenchSimulation
    task: BenchTask

    def note(self) -> None:
        self.sim.forward()
        self.task.update()

    def slide(self, joint: str, to: float) -> None:
        self.sim.joint(joint)[:] = to
        self.note()

    def carry(self, part: str, floor: float) -> None:
        """Lift the vial, and stand it on the floor of a part."""
        ids, at = np.array([0]), self.sim.body_position(f"{part}/{part}")[0, :2].copy()
        for height in (0.2, floor + VIAL_HALF_LENGTH):
            self.sim.place_loose("vial", ids, np.array([[*at, height, 0.0]]))
            self.note()


@pytest.fixture
def bench() -> Bench:
    """Drawer opened and vial inserted, out of scenario 4; then the drawer was shut."""
    sim = BenchSimulation(1)
    bench = Bench(sim, BenchTask(sim))
    bench.task.reset([0], scenario=4)
    ids = np.array([0])
    sim.place_arm(ids, sim.joint_positions[ids], np.array([0.08]))
    bench.slide("chest/drawer", 0.1)
    bench.carry("rack", 0.008)
    assert bench.task.stage.tolist() == bench.task.reached.tolist() == [BUTTON]
    sim.joint("chest/drawer")[:] = 0.0
    bench.task.undo(ids, "pull_drawer")
    bench.note()
    return bench


def test_undo_falls_back_and_what_was_reached_stays(bench: Bench) -> None:
    task = bench.task
    assert task.stage.tolist() == [DRAWER] and task.reached.tolist() == [BUTTON]
    assert not task.out_of_order[0] and not task.success[0]
    # the vial still stands in the rack: only the drawer is to be done again
    assert PREDICATES["pick_and_insert"](bench.sim, SUCCESS)[0]
    bench.slide("chest/drawer", 0.1)
    assert task.stage.tolist() == [BUTTON] and not task.out_of_order[0]


def test_a_later_result_counts_while_an_undone_one_waits(bench: Bench) -> None:
    task = bench.task
    bench.slide("button/button", 0.023)
    assert task.stage.tolist() == [DRAWER] and not task.out_of_order[0]
    bench.slide("chest/drawer", 0.1)
    assert task.stage.tolist() == [BUTTON + 1] == task.reached.tolist()
    bench.carry("bin", 0.0)
    assert task.stage.tolist() == [len(SKILLS)] and task.success[0]


def test_order_holds_beyond_what_was_reached(bench: Bench) -> None:
    bench.carry("bin", 0.0)
    assert bench.task.out_of_order[0] and not bench.task.success[0]


def test_undo_of_one_leaves_the_others() -> None:
    task = BenchTask(BenchSimulation(3))
    task.reset(range(3), scenario=2)
    task.undo(np.array([1]), "pull_drawer")
    assert task.stage.tolist() == [BUTTON, DRAWER, BUTTON]
    assert task.reached.tolist() == [BUTTON] * 3
    task.reset([7], scenario=2, ids=np.array([1]))
    assert task.stage.tolist() == [BUTTON] * 3
