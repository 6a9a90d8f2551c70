"""Every network that has a name and a weight file."""
