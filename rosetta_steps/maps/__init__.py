"""Sources of activation maps (stores and running models), their sizes, moments and splits."""
