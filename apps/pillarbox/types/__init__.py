"""Object types: how a model's changes are announced, who may see them, and the public ids of objects."""
