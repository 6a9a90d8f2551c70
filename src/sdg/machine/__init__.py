"""What this machine gives the process: CPUs, memory, and how threads share them."""
