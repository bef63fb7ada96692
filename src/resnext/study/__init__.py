"""What the paper found, beside what is found here."""
