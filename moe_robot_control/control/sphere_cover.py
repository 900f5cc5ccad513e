"""The arm's shape as spheres on its links, from the geoms of its MJCF."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import mujoco
import numpy as np

from moe_robot_control.control.arm_config import ArmConfig, ArmConfigError
from moe_robot_control.control.kinematics import Frames, Kinematics, read_model


@dataclass(frozen=True)
class Spheres:
    """Spheres fixed to the links.

    Attributes:
        links: index of the joint that carries each sphere, from 1; 0: fixed to the base. (k,).
        bodies: names of their bodies in the MJCF. Length k.
        centres: in the frame of the link (`Kinematics.frames`) [m]. Shape (k, 3).
        radii: [m]. Shape (k,).
        num_links: of the arm, the base among them.
    """

    links: np.ndarray
    bodies: tuple[str, ...]
    centres: np.ndarray
    radii: np.ndarray
    num_links: int

    def place_some(self, frames: Frames, chosen: np.ndarray) -> np.ndarray:
        """`place` of some spheres, by index, shape (c,): quicker for a few. Shape (n, c, 3)."""
        transforms = frames.transforms[:, self.links[chosen], :3]
        turned = np.einsum("ncij,cj->nci", transforms[..., :3], self.centres[chosen])
        return turned + transforms[..., 3]

    def place(self, frames: Frames) -> np.ndarray:
        """Centres in the base frame [m]. Shape (n, k, 3)."""
        count, links = frames.transforms.shape[:2]
        # one product of all links' transforms, side by side, with the centres below each other
        rows = np.swapaxes(frames.transforms[:, :, :3], 1, 2).reshape(count, 3, 4 * links)
        return np.ascontiguousarray(np.swapaxes(rows @ self._columns, 1, 2))

    @functools.cached_property
    def _columns(self) -> np.ndarray:
        """Homogeneous centres, each in the four rows of its link. Shape (4 num_links, k)."""
        columns = np.zeros((self.num_links, 4, len(self.links)))
        spheres = np.arange(len(self.links))
        columns[self.links, :3, spheres] = self.centres
        columns[self.links, 3, spheres] = 1.0
        return columns.reshape(4 * self.num_links, -1)


@dataclass(frozen=True)
class Shape:
    """What the arm occupies.

    Attributes:
        cover: spheres that together contain every geom.
        hull: spheres whose convex hulls contain every moving geom more tightly: enough for
            distances from a plane, where the cover's bulges would count.
        excluded: pairs of bodies that the MJCF excludes from contact.
    """

    cover: Spheres
    hull: Spheres
    excluded: frozenset[frozenset[str]]


def read_shape(config: ArmConfig, kinematics: Kinematics) -> Shape:
    """The shape of an arm; fingers count both open and closed.

    Meshes that do not collide in MuJoCo are looks and do not count; those that do count as their
    bounding boxes, and cylinders as capsules.

    Raises:
        ArmConfigError: a geom of a kind that an arm's link cannot have.
    """
    model = read_model(config.kinematics)
    data = mujoco.MjData(model)
    chain = {model.joint(name).bodyid[0]: k + 1 for k, name in enumerate(config.joint_names)}
    others = [i for i in range(model.njnt) if model.joint(i).name not in config.joint_names]
    cover: list[tuple[int, str, np.ndarray, float]] = []
    hull: list[tuple[int, str, np.ndarray, float]] = []
    for end in (0, 1) if others else (0,):
        data.qpos[:] = 0.0
        for joint in others:
            data.qpos[model.jnt_qposadr[joint]] = model.jnt_range[joint, end]
        mujoco.mj_kinematics(model, data)
        frames = kinematics.frames(np.zeros((1, kinematics.num_joints)))
        for geom in range(model.ngeom):
            link, moved = _carrier(model, chain, others, int(model.geom_bodyid[geom]))
            if not _is_solid(model, geom) or (end and not moved):
                continue
            body = model.body(model.geom_bodyid[geom]).name
            position = frames.rotations[0, link].T @ (
                data.geom_xpos[geom] - frames.origins[0, link]
            )
            rotation = frames.rotations[0, link].T @ data.geom_xmat[geom].reshape(3, 3)
            for store, (points, radius) in zip(
                (cover, hull), _spheres(config, model, geom), strict=True
            ):
                store += [(link, body, position + rotation @ point, radius) for point in points]
    pairs = frozenset(
        frozenset(model.body(int(i)).name for i in divmod(int(signature), 1 << 16))
        for signature in model.exclude_signature
    )
    links = kinematics.num_joints + 1
    moving = [item for item in hull if item[0] > 0]
    return Shape(_stack(cover, links), _stack(moving, links), pairs)


def _carrier(
    model: mujoco.MjModel, chain: dict[int, int], others: list[int], body: int
) -> tuple[int, bool]:
    """The link that carries a body, and whether a joint that is not the arm's moves it."""
    moved = False
    while body != 0 and body not in chain:
        moved |= any(int(model.jnt_bodyid[joint]) == body for joint in others)
        body = int(model.body_parentid[body])
    return chain.get(body, 0), moved


def _is_solid(model: mujoco.MjModel, geom: int) -> bool:
    collides = model.geom_contype[geom] or model.geom_conaffinity[geom]
    return bool(collides) or model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_MESH


def _spheres(
    config: ArmConfig, model: mujoco.MjModel, geom: int
) -> tuple[tuple[np.ndarray, float], tuple[np.ndarray, float]]:
    """Cover and hull of a geom in its own frame: centres, shape (k, 3), and one radius each."""
    kinds = mujoco.mjtGeom
    kind, size = kinds(int(model.geom_type[geom])), model.geom_size[geom]
    if kind == kinds.mjGEOM_SPHERE:
        one = np.zeros((1, 3)), float(size[0])
        return one, one
    if kind in (kinds.mjGEOM_CAPSULE, kinds.mjGEOM_CYLINDER):
        radius, half = float(size[0]), float(size[1])
        count = int(np.ceil(2.0 * half / radius))
        axis = np.zeros((count + 1, 3))
        axis[:, 2] = np.linspace(-half, half, count + 1)
        # between two centres the spheres must still be as wide as the capsule
        return (axis, float(np.hypot(radius, half / count))), (axis[[0, -1]], radius)
    if kind in (kinds.mjGEOM_BOX, kinds.mjGEOM_ELLIPSOID, kinds.mjGEOM_MESH):
        centre, half = np.zeros(3), size
        if kind == kinds.mjGEOM_MESH:
            centre, half = np.split(model.geom_aabb[geom], 2)
        counts = np.maximum(np.rint(half / np.sort(half)[1]), 1).astype(int)
        cells = [np.linspace(-h, h, 2 * n + 1)[1::2] for h, n in zip(half, counts, strict=True)]
        grid = centre + np.array(list(itertools.product(*cells)))
        corners = centre + half * np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
        return (grid, float(np.linalg.norm(half / counts))), (corners, 0.0)
    name = model.body(int(model.geom_bodyid[geom])).name
    raise ArmConfigError(f"{config.kinematics}: body {name!r} has a geom of kind {kind.name}")


def _stack(items: list[tuple[int, str, np.ndarray, float]], num_links: int) -> Spheres:
    return Spheres(
        np.array([item[0] for item in items], dtype=int),
        tuple(item[1] for item in items),
        np.array([item[2] for item in items]).reshape(-1, 3),
        np.array([item[3] for item in items]),
        num_links,
    )
