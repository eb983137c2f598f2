"""Rendering: rows without payload get the payloads that subscribers see."""
