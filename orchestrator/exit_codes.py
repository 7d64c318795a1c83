"""What a command's exit code says. Errors for users carry theirs (`workers.errors`)."""

DONE = 0
FAILED = 1
WRONG_INPUT = 2
UNREACHABLE = 3
INTERRUPTED = 130  # as after SIGINT in a shell
