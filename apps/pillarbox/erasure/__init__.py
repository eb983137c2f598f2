"""Erasure: blanks what the outbox keeps of an object. Its rows and their offsets stay."""
