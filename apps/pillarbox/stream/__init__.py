"""The streams: rows are rendered, numbered, kept and read back."""
