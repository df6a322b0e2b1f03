"""A service that cannot start: `python -m support.broken_standin`."""

import sys

if __name__ == "__main__":
    sys.exit("the moon is in the wrong phase")
