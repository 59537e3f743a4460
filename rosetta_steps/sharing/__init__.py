"""A dictionary in one folder that others open, and their own networks against it."""
