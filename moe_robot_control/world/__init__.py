"""The MuJoCo bench: scene, skills, cameras and gymnasium environments; knows nothing of ROS.

Importing this package registers the environments with gymnasium, among them
`moe_robot_control/PushButton-v0` and `moe_robot_control/Bench-v0`.
"""

from moe_robot_control.world.envs import register

register()
