"""Runs a command on a terminal of its own, does something to it, and prints as JSON what it drew and how it ended.

Usage: watch_terminal.py ACTION COMMAND...  where ACTION is one of q, interrupt, terminate, stop, resize, none.
"""

import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios
import time


def read(master, seconds, until=None):
    """Reads for so long, or until `until` was drawn."""
    data, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if not select.select([master], [], [], 0.05)[0]:
            continue
        try:
            got = os.read(master, 65536)
        except OSError:
            break
        if not got:
            break
        data += got
        if until is not None and until in data:
            break
    return data


def main():
    action, command = sys.argv[1], sys.argv[2:]
    master, slave = pty.openpty()
    size = lambda rows, columns: fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    size(24, 80)
    before = termios.tcgetattr(slave)
    child = os.fork()
    if child == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for descriptor in (0, 1, 2):
            os.dup2(slave, descriptor)
        os.execvp(command[0], command)
    first = read(master, 60, until=b"ends.") if action != "none" else b""
    echo = bool(termios.tcgetattr(slave)[3] & termios.ECHO)
    stopped = False
    if action == "q":
        os.write(master, b"q")
    elif action == "interrupt":
        os.write(master, b"\x03")
    elif action == "terminate":
        os.kill(child, signal.SIGTERM)
    elif action == "resize":
        size(10, 40)
        first = read(master, 60, until=b"ends.")
        os.write(master, b"q")
    elif action == "stop":
        os.write(master, b"\x1a")
        stopped = os.WIFSTOPPED(os.waitpid(child, os.WUNTRACED)[1])
        middle = read(master, 0.5)
        restored = termios.tcgetattr(slave) == before and middle.rstrip().endswith(b"\x1b[?1049l")
        stopped = stopped and restored
        os.kill(child, signal.SIGCONT)
        first = read(master, 60, until=b"ends.")
        os.write(master, b"q")
    rest = b""
    while True:
        rest += read(master, 0.2)
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
    rest += read(master, 0.2)
    print(
        json.dumps(
            {
                "first": first.decode("utf-8"),
                "rest": rest.decode("utf-8"),
                "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
                "status": os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0,
                "echo": echo,
                "stopped": stopped,
                "restored": termios.tcgetattr(slave) == before,
            }
        )
    )


main()
