"""Output for readers: exemplars, heatmaps, figures for print, the HTML page of a dictionary."""
