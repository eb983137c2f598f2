"""The plain pattern, as tutorials have it, for comparison."""
