"""The endpoints for other programs: metrics, and readiness."""
