"""Checks an arm's configuration end to end and says in plain words what is wrong."""
