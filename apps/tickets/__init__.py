"""The example: projects and their tickets, over REST and live."""
