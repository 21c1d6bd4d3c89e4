"""The uses of an approved model: the server, batch scoring, search."""
