"""
Daphne as the Procfile runs it, but clients have as long to end as the environment says.

    CLOSE_SECONDS=0.1 FAREWELL_SECONDS=120 python -m tests.workers.serving …
"""

import os
import sys

from workers import connections, daphne

if __name__ == "__main__":
    connections.FAREWELL_SECONDS = daphne.FAREWELL_SECONDS = float(os.environ["FAREWELL_SECONDS"])
    daphne.CLOSE_SECONDS = float(os.environ["CLOSE_SECONDS"])
    daphne.main(sys.argv[1:])
