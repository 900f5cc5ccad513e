"""Distances from everything that the arm must not reach, and how its joints change them."""

from __future__ import annotations

import itertools

import numpy as np

from moe_robot_control.control.arm_config import ArmConfig, ArmConfigError, Box
from moe_robot_control.control.kinematics import Frames, Kinematics, cross
from moe_robot_control.control.sphere_cover import Spheres, read_shape


class Clearances:
    """Clearances of configurations: each is not negative where a limit holds.

    In this order: of every joint from its lower and upper limit [rad], of the tip from the six
    walls of the workspace, of the arm's hull from the table, of its cover from every keep-out
    box, and between its links, less the margin [m]. Columns are named in `names`.
    """

    def __init__(self, config: ArmConfig, kinematics: Kinematics) -> None:
        """Read the arm's shape.

        Raises:
            ArmConfigError: the arm's file ignores a body that is not there, or two links that
                it does not ignore touch at home.
        """
        self._config = config
        self._kinematics = kinematics
        self._boxes = list(config.keep_out.values())
        shape = read_shape(config, kinematics)
        moving = np.flatnonzero(shape.cover.links > 0)
        table = config.collision is not None and config.collision.table is not None
        self._hull = shape.hull if table else None
        self._num_hull = len(shape.hull.links) if table else 0
        self._cover = shape.cover
        self._moving = moving if self._boxes else moving[:0]
        self._first, self._second = self._pairs(shape.cover, shape.excluded)
        self._margin = 0.0 if config.collision is None else config.collision.margin
        self.names = self._names()
        """What each column is about, in words. Length m."""
        count = len(config.joint_names)
        sizes = [2 * count, 6, self._num_hull, len(self._boxes) * len(self._moving)]
        self._ends = np.cumsum(sizes)
        self.reach = self._reaches()
        """Most that a clearance can change with a turn of each joint [m/rad], or 1 for that joint's
        own limits. Shape (m, joints)."""
        self._check_home()

    def of(self, joint_positions: np.ndarray, frames: Frames) -> np.ndarray:
        """Clearances of configurations [rad] and [m]: (n, joints) and their frames -> (n, m)."""
        config = self._config
        columns = [self._from_limits(joint_positions, frames)]
        if self._hull is not None:
            height = self._hull.place(frames)[..., 2]
            columns.append(height - self._hull.radii - config.collision.table)
        if self._boxes or len(self._first):
            centres = self._cover.place(frames)
            for box in self._boxes:
                offset = np.abs(centres[:, self._moving] - (box.lower + box.upper) / 2.0)
                offset -= (box.upper - box.lower) / 2.0
                outside = np.linalg.norm(np.maximum(offset, 0.0), axis=-1)
                inside = np.minimum(offset.max(axis=-1), 0.0)
                columns.append(outside + inside - self._cover.radii[self._moving])
            columns.append(np.sqrt(self._squares(centres)) - self._reach)
        return np.concatenate(columns, axis=-1)

    def some(self, joint_positions: np.ndarray, frames: Frames, chosen: np.ndarray) -> np.ndarray:
        """Columns of `of`, by index in growing order, shape (c,): quicker for a few. (n, c)."""
        ends = self._ends
        limits, hull, box, pair = _split(chosen, ends[1:])
        if len(box):
            return self.of(joint_positions, frames)[:, chosen]
        columns = []
        if len(limits):
            columns.append(self._from_limits(joint_positions, frames)[:, limits])
        if len(hull):
            low = hull - ends[1]
            height = self._hull.place_some(frames, low)[..., 2]
            columns.append(height - self._hull.radii[low] - self._config.collision.table)
        if len(pair):
            pair = pair - ends[3]
            apart = self._cover.place_some(frames, self._first[pair])
            apart -= self._cover.place_some(frames, self._second[pair])
            distances = np.sqrt(np.einsum("nci,nci->nc", apart, apart))
            columns.append(distances - self._reach[pair])
        return np.concatenate(columns, axis=-1) if columns else np.empty((len(joint_positions), 0))

    def gradients(self, frames: Frames, chosen: np.ndarray) -> np.ndarray:
        """How some clearances change with the joints of one configuration.

        Args:
            frames: of the configuration, n = 1.
            chosen: which of the m clearances, in growing order. Shape (k,).

        Returns:
            Shape (k, joints).
        """
        limits, others = _split(chosen, self._ends[1:2])
        linear, unit = frames.jacobian[0, :3], np.eye(len(frames.axes[0]))
        rows = [np.concatenate([unit, -unit, linear, -linear])[limits]]
        if len(others):
            rows.append(self._gradients_of_spheres(frames, others))
        return np.concatenate(rows)

    def _gradients_of_spheres(self, frames: Frames, chosen: np.ndarray) -> np.ndarray:
        ends, cover = self._ends, self._cover
        hull, box, pair = _split(chosen, ends[2:])
        points, directions, links = [], [], []
        if len(hull):
            low = hull - ends[1]
            points.append(self._hull.place_some(frames, low)[0])
            directions.append(np.tile([0.0, 0.0, 1.0], (len(hull), 1)))
            links.append(self._hull.links[low])
        if len(box):
            which, sphere = np.divmod(box - ends[2], len(self._moving))
            centres = cover.place_some(frames, self._moving[sphere])[0]
            outward = [_outward(c, self._boxes[i]) for c, i in zip(centres, which, strict=True)]
            points.append(centres)
            directions.append(np.array(outward))
            links.append(cover.links[self._moving[sphere]])
        if len(pair):
            ones, others = self._first[pair - ends[3]], self._second[pair - ends[3]]
            here, there = (cover.place_some(frames, some)[0] for some in (ones, others))
            apart = here - there
            apart /= np.maximum(np.sqrt(np.einsum("ki,ki->k", apart, apart)), 1e-9)[:, None]
            # the other end's share is added to its pair's
            points += [here, there]
            directions += [apart, -apart]
            links += [cover.links[ones], cover.links[others]]
        rows = _along(*(np.concatenate(some) for some in (directions, points, links)), frames)
        if len(pair):
            rows[len(chosen) - len(pair) : len(chosen)] += rows[len(chosen) :]
        return rows[: len(chosen)]

    def _reaches(self) -> np.ndarray:
        along, tip = self._kinematics.extent()
        joints, unit = np.arange(1, len(along)), np.eye(len(along) - 1)

        def reach(far: np.ndarray, outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
            """Of points of the outer links, from joints between them and the inner ones."""
            between = (joints <= outer[:, None]) & (joints > inner[:, None])
            return np.where(between, far[:, None] - along[1:], 0.0)

        walls = np.tile(along[-1] + tip - along[1:], (6, 1))
        rows = [unit, unit, walls]
        cover = self._cover
        far = along[cover.links] + np.linalg.norm(cover.centres, axis=-1)
        if self._hull is not None:
            links = self._hull.links
            lengths = np.linalg.norm(self._hull.centres, axis=-1)
            rows.append(reach(along[links] + lengths, links, np.zeros_like(links)))
        links = cover.links[self._moving]
        rows += [reach(far[self._moving], links, np.zeros_like(links))] * len(self._boxes)
        # which of the two spheres is the outer one differs
        one, other = cover.links[self._first], cover.links[self._second]
        outer = np.where(one > other, self._first, self._second)
        rows.append(reach(far[outer], cover.links[outer], np.minimum(one, other)))
        return np.concatenate(rows)

    def _from_limits(self, q: np.ndarray, frames: Frames) -> np.ndarray:
        """Of joints from their limits and the tip from the walls. Shape (n, 2 joints + 6)."""
        config, tip = self._config, frames.tip
        columns = [
            q - config.joint_lower,
            config.joint_upper - q,
            tip - config.workspace_lower,
            config.workspace_upper - tip,
        ]
        return np.concatenate(columns, axis=-1)

    def _squares(self, centres: np.ndarray) -> np.ndarray:
        """Squared distances of the pairs [m^2]: (n, spheres, 3) -> (n, pairs)."""
        # |a - b|^2 = |a|^2 + |b|^2 - 2 a b: products of all are cheaper than differences of some
        products = centres @ np.swapaxes(centres, -1, -2)
        lengths = np.einsum("nkk->nk", products)
        squares = lengths[:, :, None] + lengths[:, None, :] - 2.0 * products
        chosen = self._first * centres.shape[1] + self._second
        return np.maximum(squares.reshape(len(centres), -1)[:, chosen], 0.0)

    def _pairs(
        self, cover: Spheres, excluded: frozenset[frozenset[str]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Spheres that are checked against each other."""
        config = self._config
        if config.collision is None:
            self._reach = np.empty(0)
            return np.empty(0, dtype=int), np.empty(0, dtype=int)
        for pair in config.collision.ignore:
            for body in pair:
                if body not in cover.bodies:
                    raise ArmConfigError(
                        f"arm {config.name!r}: entry 'collision.ignore' names {body!r}, which is "
                        f"no body with a geom in {config.kinematics}"
                    )
        excluded = excluded | {frozenset(pair) for pair in config.collision.ignore}
        allowed = [
            (i, k)
            for i in range(len(cover.links))
            for k in range(i)
            if abs(cover.links[i] - cover.links[k]) > 1
            and frozenset((cover.bodies[i], cover.bodies[k])) not in excluded
        ]
        first, second = np.array(allowed, dtype=int).reshape(-1, 2).T
        self._reach = cover.radii[first] + cover.radii[second] + config.collision.margin
        return first, second

    def _names(self) -> list[str]:
        joints, bodies = self._config.joint_names, self._cover.bodies
        names = [
            f"joint {name} at its {end} limit" for end in ("lower", "upper") for name in joints
        ]
        names += ["edge of the workspace"] * 6
        if self._hull is not None:
            names += [f"{body} at the table" for body in self._hull.bodies]
        for box in self._config.keep_out:
            names += [f"{bodies[i]} at keep-out box {box}" for i in self._moving]
        names += [
            f"{bodies[i]} at {bodies[k]}" for i, k in zip(self._first, self._second, strict=True)
        ]
        return names

    def _check_home(self) -> None:
        home = self._config.home[None]
        clearances = self.of(home, self._kinematics.frames(home))[0]
        worst = int(np.argmin(clearances))
        if clearances[worst] < 0:
            raise ArmConfigError(
                f"arm {self._config.name!r}: at home, 'joints.home', a limit is broken by "
                f"{-clearances[worst]:.3f}: {self.names[worst]}"
            )


def _split(values: np.ndarray, bounds: np.ndarray) -> list[np.ndarray]:
    """Growing values parted at bounds; quicker than NumPy's `split`."""
    ends = [0, *np.searchsorted(values, bounds).tolist(), len(values)]
    return [values[begin:end] for begin, end in itertools.pairwise(ends)]


def _along(
    directions: np.ndarray, points: np.ndarray, links: np.ndarray, frames: Frames
) -> np.ndarray:
    """Velocity along directions of points of links for unit speed of every joint.

    Shapes (k, 3), (k, 3), (k,) -> (k, joints).
    """
    axes = frames.axes[0]
    moved = cross(axes[None], points[:, None] - frames.origins[0, 1:])
    rows = np.einsum("kji,ki->kj", moved, directions)
    # a joint moves the links behind it alone
    return np.where(np.arange(len(axes)) < links[:, None], rows, 0.0)


def _outward(point: np.ndarray, box: Box) -> np.ndarray:
    """Direction in which a point's distance from a box grows fastest. Shape (3,)."""
    nearest = np.clip(point, box.lower, box.upper)
    away = point - nearest
    length = float(np.linalg.norm(away))
    if length > 1e-9:
        return away / length
    depth = np.concatenate([point - box.lower, box.upper - point])
    side = int(np.argmin(depth))
    normal = np.zeros(3)
    normal[side % 3] = -1.0 if side < 3 else 1.0
    return normal
