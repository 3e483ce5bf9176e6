"""What a user can mend."""


class UserError(ValueError):
    """Input that the user can mend: the message says what is wrong, where, and what is accepted.

    The command line prints it as one line and exits with 2; everything else is a bug and keeps its traceback.
    """


class WriteError(UserError):
    """A file cannot be written: the disk is full, or the folder is not the user's."""
