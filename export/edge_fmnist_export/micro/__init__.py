"""Export for microcontrollers: C arrays and the size of the tensor arena."""
