"""Which processes listen where, as Linux's /proc has it."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from pathlib import Path

LISTEN = "0A"


def family(pid: int) -> set[int]:
    """The process and all that descend from it, and what these left to init in the same session."""
    parents, sessions = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)], sessions[int(entry.name)] = int(fields[1]), int(fields[3])
    members = {one for one, session in sessions.items() if session == pid} | {pid}
    while more := {child for child, parent in parents.items() if parent in members} - members:
        members |= more
    return members


def listening(pids: set[int]) -> dict[tuple[str, int], str]:
    """(address, port) → the command of the process that listens there, of TCP sockets of `pids`."""
    sockets = {}
    for pid in pids:
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")[:100]
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets[os.readlink(descriptor)] = command
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            command = sockets.get(f"socket:[{fields[9]}]")
            if fields[3] == LISTEN and command is not None:
                address, port = fields[1].split(":")
                found[_address(address), int(port, 16)] = command
    return found


def _address(text: str) -> str:
    """Groups of four bytes, each with its last byte first."""
    raw = bytes.fromhex(text)
    whole = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    address = ipaddress.ip_address(whole)
    return str(getattr(address, "ipv4_mapped", None) or address)
