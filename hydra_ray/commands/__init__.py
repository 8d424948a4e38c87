"""Groups of commands, a file each: they read settings, call one function and print what came of it."""
