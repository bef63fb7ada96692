"""From an artefact and images to answers."""
