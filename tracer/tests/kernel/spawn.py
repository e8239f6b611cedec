"""Makes a process in a cgroup with clone3, and waits for a line before it ends: 0 if that succeeded, else 1.

Arguments: the cgroup; "removed" if it is removed between its opening and the call, "user" if another user than root
makes the call.
"""

import ctypes
import os
import sys

CLONE_INTO_CGROUP = 0x200000000
SIGCHLD = 17
CLONE3 = 435

cgroup, *how = sys.argv[1:]
directory = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
if how == ["removed"]:
    os.rmdir(cgroup)
if how == ["user"]:
    os.setuid(65534)
arguments = (ctypes.c_uint64 * 11)(CLONE_INTO_CGROUP, 0, 0, 0, SIGCHLD, 0, 0, 0, 0, 0, directory)
made = ctypes.CDLL(None, use_errno=True).syscall(CLONE3, arguments, ctypes.sizeof(arguments))
if made == 0:
    os._exit(0)
if how != ["removed"]:
    sys.stdin.readline()
sys.exit(0 if made > 0 else 1)
