"""The thresholds of the diagnosis, and of the alerts in `config/alerts.yml`. Times are in seconds."""

#: The backlog is late if a due row has waited for longer than this.
LATE_SECONDS = 10.0
#: A worker that hasn't drained, or a beat that hasn't swept, for longer than this is at fault. Both do so
#: each second, and report it each five seconds.
SILENT_SECONDS = 20.0
#: The share of a server's connections, or of its memory, that may be in use.
CROWDED = 0.8

#: The alerts about counts that only Prometheus keeps, and the value above which each fires.
ALERTS = {
    # The 99th percentile of the seconds from a commit to its first socket.
    "NotificationsLate": 1.0,
    # In 15 minutes. Fewer may be a deploy that doesn't wait for workers to end.
    "NotifierWorkersDie": 3.0,
    # A second.
    "NotificationsLost": 1.0,
    "SocketsTooSlow": 1.0,
}
