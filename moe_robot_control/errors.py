"""The base of all errors that a user can cause and mend."""


class MoeRobotControlError(Exception):
    """An expected error; the command line prints its message as one line, without traceback."""
