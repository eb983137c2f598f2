"""`manage.py outbox doctor`: looks at the running system, and says what to do for each finding."""
