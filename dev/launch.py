"""Becomes another program that dies with its parent: `launch.py SIGNAL PARENT USER PROGRAM ARGUMENTS…`.

Run by path with the standard library only, as a step between us and every child. Linux forgets the wish to
be told of the parent's death when a process changes its user, so it is made known after that. USER is empty
to stay who we are. Nothing runs between fork and exec, so that any thread may start a child; but the wish
is bound to the thread that did, which therefore has to live as long as the child should.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main(death: int, parent: int, user: str, command: list[str]) -> None:
    if user:
        entry = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:
        sys.exit(1)  # The parent died before it could be noticed.
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
