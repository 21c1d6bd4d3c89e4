"""What the machine and the process give: files, JSON, memory, progress, secrets. It knows nothing of Lakewright."""
