"""`manage.py pillarbox doctor`: checks of a running site."""
