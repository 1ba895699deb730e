"""The parts of consensus that are not the core: who waits for it, the threads it writes with, the way to other servers."""
