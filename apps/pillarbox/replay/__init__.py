"""Replays: operators have failed rows announced again."""
