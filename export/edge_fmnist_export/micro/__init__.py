"""Output for microcontrollers: C arrays and the tensor arena."""
