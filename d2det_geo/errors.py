"""The failures d2det explains in one line, each with the exit code the command line ends with.

A message says what is wrong, where, and what to do about it. Anything that is not a
``D2DetError`` is a bug, and is shown with its traceback.
"""


class D2DetError(Exception):
    """A failure a user can act on."""

    exit_code = 1


class UsageError(D2DetError):
    """Options, settings or names that make no sense together."""

    exit_code = 2


class PartialError(D2DetError):
    """Some inputs were processed, some were not."""

    exit_code = 3


class InputError(D2DetError):
    """An input that is missing, unreadable or not what its name says."""

    exit_code = 4


class OutputExistsError(D2DetError):
    """An output that is already there and was not to be overwritten."""

    exit_code = 5


class GateError(D2DetError):
    """A measured value below the bar the user set."""

    exit_code = 6


class DependencyError(D2DetError):
    """A missing or broken dependency or device."""

    exit_code = 7
