"""What a network and a run are, as frozen values. Nothing here knows torch."""
