"""The one exception that a user should ever read."""


class DualsegError(Exception):
    """Something the user can put right: one sentence with what was expected, found, and a way out.

    The command line prints the sentence and exits with 1; anything else is a bug and keeps its
    traceback.
    """
