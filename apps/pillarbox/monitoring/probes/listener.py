"""The HTTP port on which a Celery worker, or ``pillarbox run``, serves its metrics."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ...conf import pillarbox_settings
from ...logs import get_logger
from .exposition import expose, is_allowed

logger = get_logger(__name__)

#: The longest time without a byte from a client. Then the client is disconnected.
CLIENT_SECONDS = 5.0
#: Interval between attempts to bind the port, which an earlier worker may still use.
AGAIN_SECONDS = 5.0


def listen() -> None:
    """Serve ``/metrics`` on ``METRICS_PORT`` from a thread, if the port is set."""
    conf = pillarbox_settings()
    if conf.METRICS_PORT:
        # Without a token, only this machine may connect.
        address = conf.METRICS_HOST if conf.METRICS_TOKEN else "127.0.0.1", conf.METRICS_PORT
        threading.Thread(target=_serve, args=[address], name="metrics", daemon=True).start()


class Metrics(BaseHTTPRequestHandler):
    """The HTTP server's answer to one request for the metrics."""

    timeout = CLIENT_SECONDS

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
        """Called with a log line for each request. The lines are dropped."""

    def _is_allowed(self) -> bool:
        # Without a token, the listener's own address protects it.
        is_open = not pillarbox_settings().METRICS_TOKEN
        return is_open or is_allowed(self.headers.get("Authorization", ""), "")


def _serve(address: tuple[str, int]) -> None:
    while True:
        try:
            server = ThreadingHTTPServer(address, Metrics)
        except OSError as error:
            extra = {"action": "metrics_unheard"}
            logger.warning("Metrics can't be served on port %d: %s", address[1], error, extra=extra)
            time.sleep(AGAIN_SECONDS)
        else:
            server.serve_forever()
