"""What every hostile test shares: the helpers of the runtime's tests, and Ctrl-C as in the foreground."""

import signal
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "runtime"))


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_arrives() -> None:
    """Shells have their background jobs ignore it, and all that these start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
