"""The error that is meant for the person who runs a stage."""

__all__ = ["InputError"]


class InputError(ValueError):
    """Something a user gave (a file, a folder, a setting) breaks a rule.

    The message names the file or argument, states the rule, shows the value received and says
    the next step. Scripts print it in one line, without a traceback.
    """
