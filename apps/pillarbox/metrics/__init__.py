"""Prometheus' metrics of each process. Import nothing of it before `share_metrics`."""
