"""From a slide or image to outlined, classified nuclei."""
