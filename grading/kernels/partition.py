"""Partitions: sandboxes split off from the one that bubblewrap made, one for each grader at work.

bubblewrap's sandbox is the wall to the machine. In it the parent of kernels imports what
notebooks need, once; it is trusted, and no student's code runs in it. For each that asks it forks a
process that becomes process 1 of a partition: processes, files in memory, network and user of its
own, no rights, and a filter of system calls. These are the walls between submissions that are
graded at the same time. They are put up in bubblewrap's own order, see its bubblewrap.c.

Started as a script, with what `enter` takes as JSON, it tries whether a partition can be made.
"""

import ctypes
import fcntl
import json
import os
import select
import socket
import struct
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

# From Linux's sched.h, mount.h, prctl.h, seccomp.h, capability.h, sockios.h and if.h.
NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, REC, PRIVATE = 1, 2, 4, 8, 0x4000, 0x40000
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
FILTER, CAPABILITIES, SIOCSIFFLAGS, IFF_UP = 2, 0x20080522, 0x8914, 1
USER = 1000  # of the files and processes inside
MESSAGE, DESCRIPTORS = 1 << 16, 8
PATIENCE = 5.0  # seconds for who connects to say what for
CALM = 0.1  # seconds without a request

libc = ctypes.CDLL(None, use_errno=True)


def serve(
    listener: int, load: Callable[[list[str]], None], later: Collection[str]
) -> dict[str, Any]:
    """Split off a partition for each that asks; returns in these alone, with what was asked.

    listener: descriptor of the socket to ask at. A request is a JSON object: preload (modules that
    ``load`` is to import before), enter (what `enter` takes), and others for whoever calls this;
    beside it the descriptors of a leash, of standard error and of a listening socket. The answer
    is {"modules": those of ``later`` that it has}, or {"failed": why}; then the connection stays
    open while the partition lives. In the partition the descriptors are 0, 2 and 3.
    later: modules to import when nobody has asked for a while.
    """
    listening = socket.socket(fileno=listener)
    waiting = [*later]
    while True:
        pause = CALM if waiting else None
        ready, _, _ = select.select([0, listening], [], [], pause)
        if not ready:
            load([waiting.pop(0)])
        if 0 in ready and not os.read(0, 1):
            os._exit(0)
        if listening in ready:
            client, _ = listening.accept()
            client.settimeout(PATIENCE)
            with client, suppress(OSError):
                message, descriptors, _, _ = socket.recv_fds(client, MESSAGE, DESCRIPTORS)
                if message:
                    request = json.loads(message)
                    load(request.pop("preload"))
                    answer = {"modules": [name for name in later if name in sys.modules]}
                    if split(client, descriptors, request.pop("enter"), answer):
                        listening.detach()
                        return request
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def split(
    client: socket.socket, descriptors: list[int], wanted: dict[str, Any], answer: dict[str, Any]
) -> bool:
    """Whether this process is the one in the partition, with the client's descriptors."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        for descriptor in descriptors:
            os.close(descriptor)
        return False
    try:
        call("unshare", NEWNS | NEWIPC | NEWPID | NEWNET)
        if os.fork():  # the next child is process 1 of the new namespace
            os._exit(0)
        enter(**wanted)
        leash, errors, listener = descriptors
        kept = [leash, 1, errors, listener, client.detach()]
        for place, copy in enumerate([os.dup2(d, 1000 + i) for i, d in enumerate(kept)]):
            os.dup2(copy, place)
        os.closerange(len(kept), os.sysconf("SC_OPEN_MAX"))
        os.write(len(kept) - 1, json.dumps(answer).encode())
    except BaseException as error:
        with suppress(OSError):
            client.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
        os._exit(1)
    return True


def enter(scratch: list[str], size: int, calls: str) -> None:
    """Make this process, the first of its namespaces, one of a partition. Raises OSError.

    scratch: folders to be empty file systems in memory of ``size`` bytes each. calls: the filter
    of system calls, in hexadecimal.
    """
    os.setsid()
    # Paths in it lead to this user's settings even when the new one is read-only.
    settings = os.open("/proc", os.O_PATH | os.O_DIRECTORY)
    mount(None, "/", None, PRIVATE | REC)
    mount("proc", "/proc", "proc", RDONLY | NOSUID | NODEV | NOEXEC)
    mount("devpts", "/dev/pts", "devpts", NOSUID | NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    for folder in scratch:
        mount("tmpfs", folder, "tmpfs", NOSUID | NODEV, f"mode=0755,size={size}")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    become_nobody(settings)
    os.close(settings)
    drop_rights(bytes.fromhex(calls))


def become_nobody(settings: int) -> None:
    """Take on a user namespace of its own, in which no other can be made. Raises OSError."""

    def write(name: str, text: str) -> None:
        file = os.open(name, os.O_WRONLY, dir_fd=settings)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)

    user, group = os.geteuid(), os.getegid()
    call("unshare", NEWUSER)
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # or its own maps would not be this user's to write
    write("self/setgroups", "deny")
    write("self/uid_map", f"{USER} {user} 1")
    write("self/gid_map", f"{USER} {group} 1")
    write("sys/user/max_user_namespaces", "0")
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def drop_rights(calls: bytes) -> None:
    """Give up every capability for good, and take on a filter of system calls. Raises OSError."""
    capability = 0
    while libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    call("capset", struct.pack("=Ii", CAPABILITIES, 0), struct.pack("=6I", *[0] * 6))
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    program = ctypes.create_string_buffer(calls, len(calls))
    told = struct.pack("@HP", len(calls) // 8, ctypes.addressof(program))
    call("prctl", PR_SET_SECCOMP, FILTER, told, 0, 0)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount a file system, see mount(2). Raises OSError."""
    names = [name.encode() if name else None for name in (source, target, kind)]
    call("mount", *names, ctypes.c_ulong(flags), data.encode() or None)


def call(name: str, *arguments) -> None:
    """Call the C library. Raises OSError."""
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    call("unshare", NEWNS | NEWIPC | NEWPID | NEWNET)
    if child := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    enter(**json.loads(sys.argv[1]))
