"""The server's own interface, version 1."""
