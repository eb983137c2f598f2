"""Models of every kind that the ORM can write: inherited, proxied, with other keys, with relations."""
