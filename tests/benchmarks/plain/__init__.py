"""The plain pattern, as tutorials have it: a Celery task for each change, a group, and a JSON consumer."""
