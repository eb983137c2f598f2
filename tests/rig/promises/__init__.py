"""Tests of promises that hold whatever is killed."""
