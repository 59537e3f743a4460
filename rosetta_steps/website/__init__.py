"""A dictionary as static pages that link to each other: concepts, units, models."""
