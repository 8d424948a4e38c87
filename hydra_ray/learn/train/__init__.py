"""The job that trains: the base, what heads share, and the gate."""
