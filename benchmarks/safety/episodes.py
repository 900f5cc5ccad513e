"""Episodes on the rehearsal arm, and the same ones on the simulation's own bridge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from moe_robot_control.evaluation.outcome import Outcome
from moe_robot_control.graph import GraphOptions
from moe_robot_control.nodes.domain import reserved_domain
from moe_robot_control.nodes.episode_runner import EpisodeRunner
from moe_robot_control.share import share_path
from safety.rig import ARM, COMMANDER, Rig, RigError


class RehearsalEpisodes:
    """Runs episodes with the trained graph, cameras and perception on the rehearsal arm.

    Nothing of one episode may be remembered in the next, and a wall clock cannot be set back as
    the bridge's: between episodes all nodes that remember are cleaned up and configured anew.
    """

    def __init__(self, rig: Rig) -> None:
        """Use a running rig."""
        self.rig = rig
        self._remembering = [name for name in rig.managed if name != COMMANDER]
        self._active = True

    def run(self, scenario: int, seed: int) -> tuple[Outcome, dict]:
        """Run an episode to its end; returns how it went, and what the arm saw of limits."""
        rig = self.rig
        rig.trigger(f"{COMMANDER}/set_mode/idle")
        if self._active:
            self._change(Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP)
        self._change(Transition.TRANSITION_CONFIGURE)
        rig.set(ARM, scenario=scenario, seed=seed)
        episode = rig.status.get("episode", 0)
        rig.trigger(f"{ARM}/reset")
        rig.until(lambda: rig.status.get("episode", 0) > episode, "new episode")
        rig.trigger(f"{ARM}/clear")
        # perception last, when no image of the last episode is under way any more
        self._change(Transition.TRANSITION_ACTIVATE)
        self._active = True
        rig.trigger(f"{COMMANDER}/set_mode/policy")
        rig.until(lambda: rig.status["state"] != "running", "end of the episode", 240.0)
        status = rig.status
        outcome = Outcome(
            scenario=scenario,
            skill=None,
            seed=seed,
            state=status["state"],
            success=status["state"] == "succeeded",
            time=status["time"],
            stages_done=status["stages_done"],
            stages_total=status["stages_total"],
        )
        limits = rig.new_limits()
        rig.forget()
        return outcome, limits

    def _change(self, *transitions: int) -> None:
        for name in sorted(self._remembering, key=lambda name: name == "perception"):
            for transition in transitions:
                request = ChangeState.Request(transition=Transition(id=transition))
                answer = self.rig.call(ChangeState, f"{name}/change_state", request)
                if not answer.success:
                    raise RigError(f"node {name} refuses transition {transition}")


def on_rehearsal_arm(
    tasks: Sequence[tuple[int, int]], on_result, arm: dict[str, object] | None = None
) -> list[tuple[Outcome, dict]]:
    """Run scenarios with seeds on the rehearsal arm, with parameters `arm` of its node."""
    results = []
    models = Path(share_path("models/policies"))
    with (
        reserved_domain() as domain,
        Rig(domain, models, cameras=True, relayed=False, operators=0, arm=arm) as rig,
    ):
        episodes = RehearsalEpisodes(rig)
        for scenario, seed in tasks:
            results.append(episodes.run(scenario, seed))
            on_result(results[-1][0])
    return results


def on_bridge(tasks: Sequence[tuple[int, int]], on_result) -> list[Outcome]:
    """Run the same in the simulation's bridge, in real time, too."""
    results: list[Outcome] = []
    with EpisodeRunner(GraphOptions(lockstep=False), composed=False) as runner:
        for scenario, seed in tasks:
            results.append(runner.run(scenario=scenario, seed=seed))
            on_result(results[-1])
    return results
