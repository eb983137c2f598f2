"""The middleware of a project: probes, and the request id."""
