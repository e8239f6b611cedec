"""Makes a cgroup with a process in it that is on its way out and cannot end, and removes the cgroup.

The process is the first one of a pid namespace. It waits for another process there, which has ended, and whose parent
is the remover. Arguments: the cgroup; "helped" if another thread of the remover waits for that process once a line
comes on stdin, "alone" if there is none.
"""

import ctypes
import os
import signal
import sys
import threading
import time

CLONE_NEWPID = 0x20000000
cgroup, how = sys.argv[1:]


def child(act):
    pid = os.fork()
    if pid == 0:
        act()
        signal.pause()
    return pid


def enter():
    with open(f"{cgroup}/cgroup.procs", "w") as procs:
        procs.write("0")


def until(done):
    while not done():
        time.sleep(0.01)


def state(pid):
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()


def is_exiting(pid):
    return int(state(pid)[6]) & 4 != 0


os.mkdir(cgroup)
libc = ctypes.CDLL(None)
own = os.open("/proc/self/ns/pid", os.O_RDONLY)
assert libc.unshare(CLONE_NEWPID) == 0
first = child(enter)
until(lambda: open(f"{cgroup}/cgroup.procs").read() != "")
second = child(lambda: None)
# Threads can be made only where the process is itself.
assert libc.setns(own, CLONE_NEWPID) == 0
os.kill(first, signal.SIGKILL)
until(lambda: is_exiting(first) and state(second)[0] == "Z")


def help():
    sys.stdin.readline()
    os.waitpid(second, 0)


if how == "helped":
    threading.Thread(target=help, daemon=True).start()
print("removes", flush=True)
try:
    os.rmdir(cgroup)
    print("removed", flush=True)
except OSError as error:
    print(error.strerror, flush=True)
sys.stdin.readline()
