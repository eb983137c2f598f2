"""A port on which a process that serves no HTTP is asked for its metrics."""

import logging
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from django.conf import settings

from .exposition import expose, is_allowed

logger = logging.getLogger(__name__)

#: A client that says nothing is cut after so long.
SILENT_SECONDS = 5.0
#: What has the port may let go of it: an earlier worker, say.
AGAIN_SECONDS = 5.0


def listen() -> None:
    """Answer ``/metrics`` on ``WORKER_METRICS_PORT`` from now on, if there is one."""
    if settings.WORKER_METRICS_PORT:
        # Who has no token is let in from this machine alone.
        host = settings.HOST if settings.METRICS_TOKEN else "127.0.0.1"
        address = host, settings.WORKER_METRICS_PORT
        threading.Thread(target=_serve, args=[address], name="metrics", daemon=True).start()


class Metrics(BaseHTTPRequestHandler):
    """One request."""

    timeout = SILENT_SECONDS

    def do_GET(self) -> None:
        """Called with each GET."""
        if self.path != "/metrics" or not self._is_allowed():
            self.send_error(404)
            return
        body, media_type = expose(self.headers.get("Accept", ""))
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the parent's name
        """Called with a line for each request: nobody wants them."""

    def _is_allowed(self) -> bool:
        # The listener's own address is what protects it, where there is no token.
        is_open = not settings.METRICS_TOKEN
        return is_open or is_allowed(self.headers.get("Authorization", ""), "")


def _serve(address: tuple[str, int]) -> None:
    while True:
        try:
            server = ThreadingHTTPServer(address, Metrics)
        except OSError as error:
            extra = {"action": "metrics_unheard"}
            logger.warning("No metrics on port %d: %s", address[1], error, extra=extra)
            time.sleep(AGAIN_SECONDS)
        else:
            server.serve_forever()
