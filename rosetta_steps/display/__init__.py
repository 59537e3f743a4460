"""What is looked at: exemplars, heatmaps, figures, the page."""
