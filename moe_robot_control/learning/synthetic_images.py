"""Labelled synthetic images of the bench for the pose network.

States come from scripted runs of all scenarios, so that hands, lids and vials are where they
are during the job; light, colours, table texture, clutter, camera pose, field of view and the
sensor's noise are drawn at random for every state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import mujoco
import numpy as np
from tqdm import tqdm

from moe_robot_control.control.differential_ik import solve_position
from moe_robot_control.control.kinematics import Kinematics
from moe_robot_control.perception.camera import Camera
from moe_robot_control.perception.estimator import NETWORK_SIZE, shrink
from moe_robot_control.policies.spaces import ALL_SCENARIOS, OBJECTS
from moe_robot_control.world.cameras import camera_of, make_renderer
from moe_robot_control.world.envs import BenchVectorEnv
from moe_robot_control.world.scene import build_spec, object_site
from moe_robot_control.world.teachers import teach_stage

CAMERAS = ("left", "right")
NUM_CLUTTER = 8
NUM_SIMS = 48
RUN_STEPS = 230
"""Length of a run [decisions]: two skills or a little more."""
PER_RUN = 3
"""States taken of each run."""
ELSEWHERE = 0.45
"""Share of states in which the hand was put elsewhere."""
CLOSE = 0.6
"""Share of those in which it was put about something that it handles."""
HANDLED = ("door_handle", "lid", "vial", "drawer_handle", "button")
PLAIN_SHARE = 0.25
"""Share of scenes with nominal colours and light."""


@dataclass(frozen=True)
class Snapshot:
    """State of one bench: joint positions and where the bodies stand."""

    qpos: np.ndarray
    body_pos: np.ndarray
    body_quat: np.ndarray


@dataclass(frozen=True)
class LabelledImages:
    """Two views each of n scenes.

    Attributes:
        images: RGB, uint8. Shape (n, 2, 128, 128, 3).
        pixels: true pixel (u, v) of every object in the 128 px image. Shape (n, 2, 11, 2).
        visible: whether the object can be seen there. Shape (n, 2, 11), bool.
        positions: true positions in the base frame [m]. Shape (n, 11, 3).
        cameras: calibration of both views of each scene, for 128 px images.
    """

    images: np.ndarray
    pixels: np.ndarray
    visible: np.ndarray
    positions: np.ndarray
    cameras: list[tuple[Camera, Camera]]


def collect_snapshots(
    count: int, seed: int, scenarios: Sequence[int] = ALL_SCENARIOS
) -> list[Snapshot]:
    """States out of noisy scripted runs, evenly over the scenarios.

    Every run has a layout of its own and gives `PER_RUN` states, so that a thousand states show
    the bench laid out in hundreds of ways.
    """
    rng = np.random.default_rng(seed)
    count_runs = -(-count // PER_RUN)
    runs: list[list[Snapshot]] = []
    with tqdm(total=count_runs, desc="runs", unit="run") as bar:
        for place, scenario in enumerate(scenarios):
            left = len(range(place, count_runs, len(scenarios)))
            while left > 0:
                fresh = _run(scenario, min(left, NUM_SIMS), rng)
                runs.extend(fresh)
                bar.update(len(fresh))
                left -= len(fresh)
    # whole runs are shuffled: what is split off the end shows layouts of its own
    order = rng.permutation(len(runs))
    return [snapshot for i in order for snapshot in runs[i]][:count]


def _run(scenario: int, num_sims: int, rng: np.random.Generator) -> list[list[Snapshot]]:
    """`PER_RUN` states of each of `num_sims` runs through the scenario's next skills."""
    env = BenchVectorEnv(num_sims, scenario=scenario, reward="sparse")
    _, info = env.reset(seed=int(rng.integers(2**31)))
    sim = env.sim
    kinematics = Kinematics(sim.arm.kinematics, sim.arm.joint_names, sim.arm.tip_site)
    noise = np.zeros((num_sims, 3))
    moments = np.stack(
        [np.sort(rng.choice(RUN_STEPS, PER_RUN, replace=False)) for _ in range(num_sims)]
    )
    snapshots: list[list[Snapshot]] = [[] for _ in range(num_sims)]
    for step in range(RUN_STEPS):
        action = teach_stage(info["stage"], info["scene"])
        noise = 0.9 * noise + 0.03 * rng.normal(size=noise.shape)
        action[:, :3] += noise
        _, _, _, _, info = env.step(action)
        now = np.flatnonzero((moments == step).any(axis=1))
        for i, snapshot in zip(now, _snapshots(env, rng, kinematics, now), strict=True):
            snapshots[i].append(snapshot)
    return snapshots


def _snapshots(
    env: BenchVectorEnv, rng: np.random.Generator, kinematics: Kinematics, sims: np.ndarray
) -> list[Snapshot]:
    """The present state of each of `sims`; in many of them the hand is somewhere else."""
    sim = env.sim
    qpos = sim.qpos[sims]
    elsewhere = np.flatnonzero(rng.random(len(sims)) < ELSEWHERE)
    tips = rng.uniform([0.28, -0.46, 0.04], [0.70, 0.46, 0.46], (len(elsewhere), 3))
    # about what it handles: there it hides most
    close = np.flatnonzero(rng.random(len(elsewhere)) < CLOSE)
    handled = rng.choice([OBJECTS.index(name) for name in HANDLED], len(close))
    about = sim.object_positions()[sims[elsewhere[close]], handled]
    tips[close] = about + rng.uniform([-0.03, -0.03, -0.03], [0.03, 0.03, 0.05], about.shape)
    tips[:, 2] = np.maximum(tips[:, 2], sim.arm.workspace_lower[2])
    arm = solve_position(kinematics, tips, sim.arm.rotation, sim.arm.home)
    # a held vial stays behind, in the air: the network must not rely on the hand
    qpos[elsewhere[:, None], sim._arm_qpos] = arm
    width = rng.choice([0.0, 0.5, 1.0], (len(elsewhere), 1)) * sim.arm.max_gripper_width
    qpos[elsewhere[:, None], sim._finger_qpos] = width / 2
    return [
        Snapshot(state, sim.body_pos[i].copy(), sim.body_quat[i].copy())
        for state, i in zip(qpos, sims, strict=True)
    ]


class _Studio:
    """Renders snapshots under random conditions."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        spec = build_spec()
        texture = spec.add_texture(
            name="table",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
            width=128,
            height=128,
            rgb1=[1.0, 1.0, 1.0],
        )
        material = spec.add_material(name="table")
        textures = list(material.textures)
        textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
        material.textures = textures
        spec.geom("table").material = material.name
        kinds = [mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER]
        kinds.append(mujoco.mjtGeom.mjGEOM_SPHERE)
        for i in range(NUM_CLUTTER):
            spec.worldbody.add_geom(
                name=f"clutter{i}", type=kinds[i % 3], size=[0.02] * 3, contype=0, conaffinity=0
            )
        self._model = spec.compile()
        self._data = mujoco.MjData(self._model)
        self._nominal = {
            name: getattr(self._model, name).copy()
            for name in ("geom_rgba", "light_pos", "light_diffuse", "cam_pos", "cam_quat")
        }
        self._nominal["cam_fovy"] = self._model.cam_fovy.copy()
        self._headlight = (
            self._model.vis.headlight.ambient.copy(),
            self._model.vis.headlight.diffuse.copy(),
        )
        self._renderer = make_renderer(self._model)
        self._sites = [self._model.site(object_site(name)).id for name in OBJECTS]
        self._clutter = [self._model.geom(f"clutter{i}").id for i in range(NUM_CLUTTER)]
        self._count = 0

    def shoot(self, snapshot: Snapshot) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Images (2, 128, 128, 3), pixels, visibility, positions; sets `cameras`."""
        model, data = self._model, self._data
        model.body_pos[:] = snapshot.body_pos
        model.body_quat[:] = snapshot.body_quat
        data.qpos[:] = snapshot.qpos
        self._randomise()
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        positions = data.site_xpos[self._sites].copy()
        self.cameras = tuple(camera_of(model, name, NETWORK_SIZE) for name in CAMERAS)
        images, visible = [], []
        for name, camera in zip(CAMERAS, self.cameras, strict=True):
            self._renderer.update_scene(data, name)
            images.append(self._sensor(self._renderer.render()))
            visible.append(self._visible(camera))
        pixels = np.stack([camera.project(positions) for camera in self.cameras])
        inside = ((pixels > 0) & (pixels < NETWORK_SIZE - 1)).all(axis=-1)
        return np.stack(images), pixels, np.stack(visible) & inside, positions

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()

    def _randomise(self) -> None:
        model, rng = self._model, self._rng
        for name, value in self._nominal.items():
            getattr(model, name)[:] = value
        model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = self._headlight
        model.geom_rgba[self._clutter, 3] = 0.0
        for camera in range(model.ncam):
            model.cam_pos[camera] += rng.normal(0.0, 0.012, 3)
            turn, quaternion = rng.normal(0.0, 0.012, 3), np.empty(4)
            mujoco.mju_axisAngle2Quat(
                quaternion, turn / np.linalg.norm(turn), float(np.linalg.norm(turn))
            )
            nominal = self._nominal["cam_quat"][camera]
            mujoco.mju_mulQuat(model.cam_quat[camera], nominal, quaternion)
            model.cam_fovy[camera] *= rng.uniform(0.98, 1.02)
        if rng.random() < PLAIN_SHARE:
            if self._count % 16 == 0:
                self._texture(plain=True)
            return
        model.vis.headlight.ambient[:] *= rng.uniform(0.6, 1.6)
        model.vis.headlight.diffuse[:] *= rng.uniform(0.5, 1.5)
        model.light_pos[:] += rng.uniform([-0.8, -1.0, -0.8], [0.8, 1.0, 0.6])
        model.light_diffuse[:] *= rng.uniform(0.4, 1.5) * rng.uniform(0.9, 1.1, 3)
        scale = rng.uniform(0.85, 1.15, (model.ngeom, 3)) * rng.uniform(0.85, 1.15, 3)
        colours = model.geom_rgba[:, :3] * scale + rng.normal(0.0, 0.03, scale.shape)
        model.geom_rgba[:, :3] = np.clip(colours, 0.0, 1.0)
        for name in ("table", "floor"):
            model.geom(name).rgba[:3] = rng.uniform(0.25, 0.9) * rng.uniform(0.85, 1.15, 3)
        self._scatter()
        self._count += 1
        if self._count % 12 == 0:
            self._texture(plain=False)

    def _scatter(self) -> None:
        model, rng = self._model, self._rng
        for geom in self._clutter[: rng.integers(0, NUM_CLUTTER + 1)]:
            model.geom_size[geom] = rng.uniform(0.008, 0.03, 3)
            model.geom_rgba[geom] = [*rng.uniform(0.0, 1.0, 3), 1.0]
            # around the furniture rather than in front of it
            at = rng.uniform([0.2, -0.6, 0.005], [0.85, 0.6, 0.03])
            model.geom_pos[geom] = at

    def _texture(self, plain: bool) -> None:
        model, rng = self._model, self._rng
        texture = model.texture("table")
        address, size = int(texture.adr[0]), int(texture.height[0] * texture.width[0] * 3)
        image = np.full((128, 128, 3), 255.0)
        if not plain:
            cells = int(rng.choice([4, 8, 16, 32, 64]))
            small = rng.uniform(rng.uniform(90, 220), 255, (cells, cells, 1)).astype(np.float32)
            how = cv2.INTER_NEAREST if rng.random() < 0.3 else cv2.INTER_CUBIC
            grain = cv2.resize(small, (128, 128), interpolation=how)
            image = np.clip(grain.reshape(128, 128, 1) + rng.normal(0, 6, (128, 128, 3)), 0, 255)
        model.tex_data[address : address + size] = image.astype(np.uint8).ravel()
        context = self._renderer._mjr_context
        if self._renderer._gl_context:
            self._renderer._gl_context.make_current()
        mujoco.mjr_uploadTexture(model, context, int(texture.id))

    def _sensor(self, image: np.ndarray) -> np.ndarray:
        rng = self._rng
        if rng.random() < 0.3:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2))
        image = shrink(image).astype(np.float32)
        image = image * rng.uniform(0.85, 1.15) + rng.normal(0.0, rng.uniform(0, 6), image.shape)
        return np.clip(image, 0, 255).astype(np.uint8)

    def _visible(self, camera: Camera) -> np.ndarray:
        """An object is visible where a fair part of its surroundings is not occluded."""
        model, data = self._model, self._data
        eye = camera.extrinsics.position
        hit = np.zeros(1, dtype=np.int32)
        result = np.zeros(len(OBJECTS), dtype=bool)
        for k, site in enumerate(self._sites):
            frame = data.site_xmat[site].reshape(3, 3)
            probes, slack = _PROBES, 0.012
            if OBJECTS[k] == "vial":
                probes, slack = _VIAL_PROBES, 0.022
            clear = 0
            for point in data.site_xpos[site] + probes @ frame.T:
                offset = point - eye
                distance = float(np.linalg.norm(offset))
                reached = mujoco.mj_ray(model, data, eye, offset / distance, None, 1, -1, hit)
                clear += reached < 0 or reached > distance - slack
            result[k] = clear >= 0.4 * len(probes)
        return result


_PROBES = np.array([[0, 0, 2], [7, 0, 2], [-7, 0, 2], [0, 7, 2], [0, -7, 2]]) * 1e-3
_VIAL_PROBES = np.array([[0, 0, 1], [0, 0, -10], [0, 0, -20], [0, 0, -45]]) * 1e-3


def make_images(count: int, seed: int, scenarios: Sequence[int] = ALL_SCENARIOS) -> LabelledImages:
    """Render `count` scenes of `scenarios` in both views; equal seeds give equal images."""
    snapshots = collect_snapshots(count, seed, scenarios)
    studio = _Studio(np.random.default_rng([seed, 1]))
    images = np.empty((count, 2, NETWORK_SIZE, NETWORK_SIZE, 3), dtype=np.uint8)
    pixels = np.empty((count, 2, len(OBJECTS), 2), dtype=np.float32)
    visible = np.empty((count, 2, len(OBJECTS)), dtype=bool)
    positions = np.empty((count, len(OBJECTS), 3))
    cameras = []
    for i, snapshot in enumerate(tqdm(snapshots, desc="renders", unit="scene")):
        images[i], pixels[i], visible[i], positions[i] = studio.shoot(snapshot)
        cameras.append(studio.cameras)
    studio.close()
    return LabelledImages(images, pixels, visible, positions, cameras)
