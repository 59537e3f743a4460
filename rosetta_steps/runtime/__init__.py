"""The environment of a step: errors, devices and memory."""
