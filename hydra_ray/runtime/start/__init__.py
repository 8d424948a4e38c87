"""Starting Ray: patiently, and without its own lines on stderr."""
