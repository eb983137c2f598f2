"""The channel layer: rows on their way to the sockets."""
