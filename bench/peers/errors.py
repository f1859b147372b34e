"""How a peer ends that cannot go on."""

import sys


def fail(what: str, hint: str) -> None:
    """Ends the program with a message and the next step."""
    sys.exit(f"error: {what}\n\nhint: {hint}")
