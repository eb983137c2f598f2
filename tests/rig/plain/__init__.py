"""The plain pattern, as tutorials show it, for comparison."""
