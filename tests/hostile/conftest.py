"""What every hostile test shares: the helpers of the runtime's tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "runtime"))
