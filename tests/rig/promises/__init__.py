"""Tests of promises that hold whichever process or server is killed."""
