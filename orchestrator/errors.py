"""What can go wrong by a user's hand."""


class UserError(Exception):
    """A mistake in what the user gave: the message is one line that says what, where, and what is valid.

    The command line prints it and exits with code 2; nothing already made is lost.
    """
