"""Processes with another clock, by libfaketime."""
import atexit
import ctypes.util
import glob
import os
import re

from harness import Failure

MEMORY = "/dev/shm"
NAME = re.compile(r"(?:sem\.faketime_sem|faketime_shm)_(\d+)$")


def _forget_the_dead():
    """Who was killed leaves what the library shares with its children."""
    for name in os.listdir(MEMORY):
        match = NAME.match(name)
        if match and not os.path.exists("/proc/" + match.group(1)):
            try:
                os.unlink(os.path.join(MEMORY, name))
            except FileNotFoundError:
                pass  # another test did


def faked_clock(shift):
    """The environment of a process whose wall clock is off by that much, as in
    "+400d" or "-3.5s"; its monotonic one is right."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    preload = found[0] if found else ctypes.util.find_library("faketimeMT")
    if preload is None:
        raise Failure("libfaketime is missing: apt-get install libfaketime")
    if os.path.isdir(MEMORY):
        atexit.unregister(_forget_the_dead)
        atexit.register(_forget_the_dead)
    # A sanitizer's library would rather be loaded first; it need not.
    sanitizer = os.environ.get("ASAN_OPTIONS", "").split(":")
    return {"LD_PRELOAD": preload, "FAKETIME": shift,
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
            "ASAN_OPTIONS": ":".join(
                filter(None, sanitizer + ["verify_asan_link_order=0"]))}
