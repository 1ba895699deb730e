def main() -> None:
    """The `chowk` command."""
