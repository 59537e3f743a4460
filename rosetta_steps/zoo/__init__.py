"""The model zoo: entries, weights, and one loader a model family."""
