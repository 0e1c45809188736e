"""Pages that work from a file: no server, no network, light and dark."""
