"""Words for units: labels of images held against what units do on them, each with a score."""
