"""Side by side: ours, rclone and a plain boto3 pool on the same servers. Run by `make bench`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the test servers live there
