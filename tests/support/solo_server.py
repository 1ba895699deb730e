"""A server process over the stand-in for consensus: `python solo_server.py`, with the options on stdin."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from chowk.server.main import main
from support.consensus import make_solo

if __name__ == "__main__":
    sys.exit(main(make_solo))
