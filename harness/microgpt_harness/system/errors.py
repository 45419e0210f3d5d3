"""The two ways a command may end badly, each with its exit code and one line for the user."""


class UserError(Exception):
    """Wrong input. The message is one line: what is wrong, where, and what to do. Exit code 2."""

    exit_code = 2


class RunError(Exception):
    """Right input, but the run failed (network, disk, numbers). One line, like UserError. Exit code 1."""

    exit_code = 1
