"""Operators for the network, each computing what plain torch does with less waste; they know no network."""
