"""Interventions: what a model's unit does when its match in the generator is clamped."""
