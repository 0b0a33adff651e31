"""What a user can do wrong, and what a user should hear about."""

__all__ = ["DataWarning", "InputError"]


class InputError(ValueError):
    """A mistake that the user can mend.

    The message is one sentence: what is wrong, where, and what to do. The command line prints it without a
    traceback and exits with code 2.
    """


class DataWarning(UserWarning):
    """Something in the user's data that changes how a result must be read (skipped files, leakage, range)."""
