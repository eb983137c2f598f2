"""The number of random histories with which each law is tested."""

import os

#: `LAW_SEEDS=100 python -m pytest tests/sockets/test_law.py` tries more of them.
SEEDS = int(os.environ.get("LAW_SEEDS", "6"))
