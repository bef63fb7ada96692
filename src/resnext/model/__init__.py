"""The network in plain torch: one device, readable, exportable."""
