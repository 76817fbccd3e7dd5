"""``python -m histonuc``."""

from histonuc.cli import main

if __name__ == "__main__":
    main()
