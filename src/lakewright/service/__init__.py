"""What uses an approved model: the server, batch scoring, search."""
