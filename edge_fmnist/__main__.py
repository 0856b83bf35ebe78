"""The command ``edge-fmnist``, also as ``python -m edge_fmnist``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is being imported ends it as it does later."""
    try:
        from edge_fmnist.cli.app import main as run
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
