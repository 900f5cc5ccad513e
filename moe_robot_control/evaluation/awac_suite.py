"""What `moe-robot-control evaluate awac` measures: policies that were trained for one skill."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

from moe_robot_control.errors import MoeRobotControlError
from moe_robot_control.evaluation.csv_files import read_csv, write_csv
from moe_robot_control.evaluation.policies_in_simulation import expert, run_in_simulation
from moe_robot_control.manifest import manifest_path, verify_manifest
from moe_robot_control.policies.spaces import DECISION_PERIOD, SKILLS
from moe_robot_control.world.scene import SKILL_PARTS

FIRST_SEED = 70_000
"""Of the episodes; those of the trainings' own evaluations are others."""
METHODS: dict[str, str] = {
    "awac": "AWAC",
    "iql": "IQL",
    "sac_demonstrations": "SAC, demonstrations in the buffer",
    "bc_ppo": "BC, then PPO",
    "sac": "SAC from scratch",
    "bc": "BC",
}
"""Names of the methods in tables."""


class AwacEvaluationError(MoeRobotControlError):
    """Nothing that could be measured."""


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation within a training.

    Attributes:
        episodes, transitions: lived until then.
        success: share of its episodes.
        acting: that of the policy that acted on: after a roll-back the best one's.
    """

    episodes: int
    transitions: int
    success: float
    acting: float

    @property
    def minutes(self) -> float:
        """Of the robot's time in its own episodes."""
        return self.transitions * DECISION_PERIOD / 60.0


@dataclass(frozen=True)
class Trained:
    """What one training made.

    Attributes:
        method: out of `METHODS`.
        skill: that was learned.
        seed: of the training.
        folder: of its ONNX file and manifest.
    """

    method: str
    skill: str
    seed: int
    folder: Path

    @property
    def model(self) -> Path:
        """The policy."""
        return self.folder / f"{self.skill}.onnx"

    @cached_property
    def manifest(self) -> dict:
        """That of the policy.

        Raises:
            ManifestError: missing, malformed, or of another file.
        """
        return verify_manifest(self.model)

    @property
    def through(self) -> str:
        """What it was trained through: the simulation alone, or a graph; and on what poses."""
        metrics = self.manifest["metrics"]
        seen = {"camera": ", camera images", "true": ", true poses"}.get(metrics.get("poses"), "")
        return str(metrics.get("through", "graph")) + seen

    @property
    def curve(self) -> list[CurvePoint]:
        """Its own evaluations; the first is that of the offline policy.

        Raises:
            AwacEvaluationError: the manifest holds none.
        """
        try:
            points = [CurvePoint(*row) for row in self.manifest["metrics"]["curve"]]
            if not points:
                raise ValueError
            return points
        except (KeyError, TypeError, ValueError) as error:
            raise AwacEvaluationError(
                f"{manifest_path(self.model)}: holds no evaluations"
            ) from error


@dataclass(frozen=True)
class Result:
    """How often one training's policy succeeded.

    Attributes:
        method, skill, seed: of the training.
        success, episodes: how many succeeded, out of how many.
        model: hash of the policy.
    """

    method: str
    skill: str
    seed: int
    success: int
    episodes: int
    model: str

    @property
    def share(self) -> float:
        """Success as a share."""
        return self.success / self.episodes


def find_trained(folder: Path) -> list[Trained]:
    """All complete trainings, by skill, then in the order of `METHODS`, then of seeds.

    Args:
        folder: holds one folder `<method>_<skill>_<seed>` a training.

    Raises:
        AwacEvaluationError: there is none.
    """
    found = []
    for skill in SKILLS:
        for method in METHODS:
            stem = f"{method}_{skill}_"
            seeds = [path.name.removeprefix(stem) for path in folder.glob(f"{stem}*")]
            for seed in sorted(int(seed) for seed in seeds if seed.isdigit()):
                trained = Trained(method, skill, seed, folder / f"{stem}{seed}")
                if trained.model.is_file() and manifest_path(trained.model).is_file():
                    found.append(trained)
    if not found:
        raise AwacEvaluationError(f"no trained policies in {folder}: see finetune and train online")
    return found


def hash_of(trained: Trained) -> str:
    """Short hash of a policy."""
    return str(trained.manifest["onnx_sha256"])[:12]


def measure(trained: Trained, episodes: int) -> Result:
    """Run a policy in its skill's own scene, from `FIRST_SEED` on.

    Raises:
        PolicyLoadError: the policy is unusable.
        ManifestError: it is not the one of its manifest.
    """
    model = hash_of(trained)
    outcomes = run_in_simulation(
        expert(trained.folder, trained.skill),
        range(FIRST_SEED, FIRST_SEED + episodes),
        skill=trained.skill,
        parts=SKILL_PARTS[trained.skill],
    )
    wins = sum(outcome.success for outcome in outcomes)
    key = (trained.method, trained.skill, trained.seed)
    return Result(*key, wins, episodes, model)


def read_results(path: Path) -> list[Result]:
    """The lines of a CSV file; none if there is no file.

    Raises:
        AwacEvaluationError: malformed.
    """
    kinds = {field.name: {"int": int}.get(str(field.type), str) for field in fields(Result)}
    try:
        return [
            Result(**{name: kind(line[name]) for name, kind in kinds.items()})
            for line in read_csv(path)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise AwacEvaluationError(f"{path}: not a file of results; delete it") from error


def write_results(path: Path, results: Iterable[Result]) -> None:
    """Write the CSV file, replacing it at once."""
    write_csv(path, [field.name for field in fields(Result)], map(asdict, results))


def write_curves(path: Path, trained: Sequence[Trained]) -> None:
    """Write every evaluation of the trainings as a CSV file."""
    rows = [
        {"method": one.method, "skill": one.skill, "seed": one.seed, "through": one.through}
        | asdict(point)
        | {"minutes": round(point.minutes, 3)}
        for one in trained
        for point in one.curve
    ]
    write_csv(path, list(rows[0]), rows)
