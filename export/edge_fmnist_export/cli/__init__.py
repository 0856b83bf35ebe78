"""The workstation's commands, plugged into ``edge-fmnist`` by an entry-point group."""
