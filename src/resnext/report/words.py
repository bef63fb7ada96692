"""Numbers in words, the same on pages and on the command line."""


def percent(value: float | None) -> str:
    """Write a percentage, without its sign; a dash where there is none."""
    return "-" if value is None else f"{value:.2f}"


def duration(seconds: float) -> str:
    """Write a time in the two greatest units that it has."""
    if seconds < 59.95:  # from there on it would be written as 60.0
        return f"{seconds:.1f} s"
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole_seconds} s"
