"""Names of the low-level features, for those who need no image and hence no torch."""

SCALES = (1, 2, 4)  # of contrast and edges: pixels by which images are averaged before
ORIENTATIONS = ("horizontal", "falling", "vertical", "rising")  # of the lines that respond
FEATURES = (
    "luminance",
    "red_green",
    "yellow_blue",
    "saturation",
    *(f"contrast_{scale}" for scale in SCALES),
    *(f"edges_{scale}" for scale in SCALES),
    *(f"lines_{orientation}" for orientation in ORIENTATIONS),
    "x",
    "y",
    "radius",
)
