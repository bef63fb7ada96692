"""From untrusted image bytes to the pixels a network reads."""
