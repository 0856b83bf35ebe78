"""``python -m edge_fmnist``: the command line."""

from edge_fmnist.cli.app import main

if __name__ == "__main__":
    main()
