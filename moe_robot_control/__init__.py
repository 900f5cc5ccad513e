"""One arm, many skills: a mixture of experts behind a ROS 2 graph."""

__version__ = "0.1.0"
