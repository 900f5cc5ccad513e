"""How a soft modular policy routes: by task, over an episode, and how alike tasks are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib.figure
import numpy as np
import onnxruntime
from sklearn.manifold import TSNE

from moe_robot_control.learning.task_suites import TaskSuite, run_episodes
from moe_robot_control.policies.runtime import PolicyLoadError

SAMPLES = 60
"""Of each task in the picture of likeness."""


@dataclass(frozen=True)
class Routes:
    """Routing along episodes of M tasks.

    Attributes:
        tasks: their names.
        routing: for each task the probabilities at every step seen, shape (steps, L - 1, n, n):
            targets, then sources.
        phases: for each task how far the episode was, 0 to 1. Shape (steps).
    """

    tasks: tuple[str, ...]
    routing: list[np.ndarray]
    phases: list[np.ndarray]


def load_routing(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The exported routing: states and tasks as one-hot, (b, d + M), to (b, L - 1, n, n).

    Raises:
        PolicyLoadError: missing or unreadable.
    """
    if not path.is_file():
        raise PolicyLoadError(f"{path}: no such model file")
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many kinds
        raise PolicyLoadError(f"{path}: not a readable ONNX model") from error
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x.astype(np.float32)})[0]


def follow(
    suite: TaskSuite,
    policy: Callable[[np.ndarray], np.ndarray],
    routing: Callable[[np.ndarray], np.ndarray],
    seed: int,
) -> Routes:
    """Record the routing of one episode in each environment.

    Args:
        suite: of M tasks.
        policy: from states (M, n, d) to actions (M, n, a).
        routing: from `load_routing`.
        seed: of the episodes.
    """
    num_tasks = len(suite.names)
    seen = [(running, states) for running, states, _, _ in run_episodes(suite, policy, seed)]
    found = Routes(tuple(suite.names), [], [])
    for task in range(num_tasks):
        own = np.stack([states[task] for _, states in seen])
        valid = np.stack([running[task] for running, _ in seen])
        lengths = np.maximum(valid.sum(axis=0) - 1, 1)
        phases = np.arange(len(seen))[:, None] / lengths
        one_hot = np.broadcast_to(np.eye(num_tasks)[task], (int(valid.sum()), num_tasks))
        found.routing.append(routing(np.concatenate([own[valid], one_hot], axis=1)))
        found.phases.append(phases[valid])
    return found


def draw_by_task(path: Path, routes: Routes) -> None:
    """Mean probabilities of every task: a panel a task, a row a target, a column a source."""
    layers, n = routes.routing[0].shape[1:3]
    columns = min(5, len(routes.tasks))
    height = -(-len(routes.tasks) // columns)
    figure = matplotlib.figure.Figure(
        figsize=(2.2 * columns, 2.3 * height * layers), layout="constrained"
    )
    axes = figure.subplots(height * layers, columns, squeeze=False)
    for axis in axes.ravel():
        axis.set_visible(False)
    for index, (task, routing) in enumerate(zip(routes.tasks, routes.routing, strict=True)):
        for layer in range(layers):
            axis = axes[index // columns * layers + layer, index % columns]
            axis.set_visible(True)
            mean = routing[:, layer].mean(axis=0)
            image = axis.imshow(mean, vmin=0.0, vmax=1.0, cmap="viridis")
            axis.set_title(f"{task}\nlayer {layer + 1} to {layer + 2}", fontsize=8)
            axis.set_xticks(range(n), [str(j + 1) for j in range(n)], fontsize=7)
            axis.set_yticks(range(n), [str(i + 1) for i in range(n)], fontsize=7)
    figure.supxlabel("source module", fontsize=9)
    figure.supylabel("target module", fontsize=9)
    figure.colorbar(image, ax=axes, label="mean probability", shrink=0.6)
    figure.savefig(path, dpi=130)


def draw_over_time(path: Path, routes: Routes, bins: int = 20) -> None:
    """Mean share that each source module of the first layer has, over the episode."""
    columns = min(4, len(routes.tasks))
    height = -(-len(routes.tasks) // columns)
    figure = matplotlib.figure.Figure(figsize=(2.8 * columns, 2.2 * height), layout="constrained")
    axes = figure.subplots(height, columns, squeeze=False, sharex=True, sharey=True).ravel()
    edges = np.linspace(0.0, 1.0, bins + 1)
    for axis, task, routing, phases in zip(
        axes, routes.tasks, routes.routing, routes.phases, strict=False
    ):
        share = routing[:, 0].mean(axis=1)
        place = np.clip(np.digitize(phases, edges) - 1, 0, bins - 1)
        for source in range(share.shape[1]):
            means = [
                share[place == b, source].mean() if (place == b).any() else np.nan
                for b in range(bins)
            ]
            axis.plot((edges[:-1] + edges[1:]) / 2, means, label=f"module {source + 1}")
        axis.set_title(task, fontsize=9)
        axis.set_ylim(-0.03, 1.03)
        axis.grid(alpha=0.3)
    for axis in axes[len(routes.tasks) :]:
        axis.set_visible(False)
    figure.supxlabel("share of the episode", fontsize=9)
    figure.supylabel("mean probability as a source", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=130)


def draw_likeness(path: Path, routes: Routes, seed: int = 0) -> None:
    """t-SNE (van der Maaten and Hinton 2008) of routing vectors, coloured by task."""
    rng = np.random.default_rng(seed)
    parts, labels = [], []
    for index, routing in enumerate(routes.routing):
        rows = rng.permutation(len(routing))[:SAMPLES]
        parts.append(routing[rows].reshape(len(rows), -1))
        labels += [index] * len(rows)
    vectors = np.concatenate(parts)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    places = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
    figure = matplotlib.figure.Figure(figsize=(6.5, 4.5), layout="constrained")
    axis = figure.subplots()
    colours = matplotlib.colormaps["tab10"]
    for index, task in enumerate(routes.tasks):
        own = np.array(labels) == index
        axis.scatter(*places[own].T, s=10, color=colours(index % 10), label=task)
    axis.set(title="Routing vectors (t-SNE)", xticks=[], yticks=[])
    figure.legend(loc="outside right upper", fontsize=8)
    figure.savefig(path, dpi=130)
