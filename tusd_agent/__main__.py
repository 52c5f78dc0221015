"""``python -m tusd_agent``: the same as the command ``tusd-agent``."""

from .cli import main

if __name__ == "__main__":
    main()
