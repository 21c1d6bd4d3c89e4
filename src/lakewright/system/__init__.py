"""Access to machine and process: files, JSON, memory, progress, secrets. This wing knows nothing of Lakewright."""
