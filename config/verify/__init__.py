"""`manage.py verify`: the promises, on this machine, while things are killed. A room within the room."""
