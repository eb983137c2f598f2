"""
Daphne as in the Procfile, with close and shutdown timeouts from the environment.

SHUTDOWN_SECONDS=0.1 CLOSE_TIMEOUT_SECONDS=120 python -m tests.server.serving …

It serves every path of its application, so that tests can read the journals of their sockets.
"""

import os
import sys

import django

django.setup()

from pillarbox.server import connections, daphne  # noqa: E402  # they import models


class PermissiveServer(daphne.NotificationServer):
    def serves(self, method, path):
        return True


if __name__ == "__main__":
    connections.CLOSE_TIMEOUT_SECONDS = float(os.environ["CLOSE_TIMEOUT_SECONDS"])
    daphne.CLOSE_TIMEOUT_SECONDS = connections.CLOSE_TIMEOUT_SECONDS
    daphne.SHUTDOWN_SECONDS = float(os.environ["SHUTDOWN_SECONDS"])
    daphne.CommandLine.server_class = PermissiveServer
    daphne.main(sys.argv[1:])
