"""The MuJoCo bench: scene, skills, cameras and gymnasium environments; knows nothing of ROS."""
