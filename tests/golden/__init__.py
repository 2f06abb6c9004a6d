"""What 0.1 wrote and showed, kept to be compared with what the program does now."""
