"""The outcome of a run, as a table, a report and a picture."""
