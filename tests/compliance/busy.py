"""Keep one core busy, until the time given is over or the parent process is gone."""

import os
import sys
import time


def main() -> None:
    deadline = time.monotonic() + float(sys.argv[1])
    parent = os.getppid()
    while time.monotonic() < deadline and os.getppid() == parent:
        sum(range(100_000))


if __name__ == "__main__":
    main()
