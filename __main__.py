"""`python -m chowk` is the `chowk` command."""

from chowk.cli import main

if __name__ == "__main__":
    main()
