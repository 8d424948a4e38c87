"""From files and command lines to settings, and back to a list of them."""
