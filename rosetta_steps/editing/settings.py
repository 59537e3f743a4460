"""How an edit is done: what differs from an inversion."""

from typing import Any

# Found on faces of seed 2. Edits of where maps are active: on 6 images, 100 steps, the maps after
# correlated with their targets at 0.22 (zoom in) and 0.48 (shift) with pearson, 0.16 and 0.44 with
# cosine, 0.12 and 0.38 with distance. Edits of how active they are need distance: pearson knows no
# level and cosine no height. 300 steps at 0.1 sent one image of 6 away, and were no better.
# Weights of what is kept, of 10 removals with distance (benchmarks.edits --images-seed 2):
# 1 lowers maps by 0.86 and others keep 0.86; 2: 0.80, 0.90; 3: 0.74, 0.92; 10: 0.50, 0.97. Cosine
# is stronger at 3 (0.91, 0.88) and does not leave its start at 10.
# What differs from an inversion: maps are all there is to reach, from where the image is.
DEFAULTS: dict[str, Any] = {
    "steps": 100,
    "alpha": 0.1,
    "beta": 1.0,
    "guidance_fraction": 1.0,
    "regularise_to": "start",
    "reconstruction": "none",
    "frames": 0,
}
KEEP = 3.0
RANDOM_STARTS = 4
STARTS = ("source", "random")
