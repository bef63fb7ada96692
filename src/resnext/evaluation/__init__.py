"""How a classifier is scored."""
