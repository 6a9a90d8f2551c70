"""What is alike: the terms of sim(x, y)."""
