"""The relay: numbered rows are claimed, published and settled."""
