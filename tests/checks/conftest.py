"""What pytest must not import here."""

#: Its registrations are refused.
collect_ignore = ["wrong/live.py"]
