"""What the checks share: which files are ours, and C text without comments."""
import os
import re
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))


def tracked(*suffixes):
    """Paths from the root, of git's files or, without git, of all but build/.
    New files not yet added to git count too."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others",
             "--exclude-standard"], cwd=ROOT, check=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        paths = listed.decode().split("\0")
    except (OSError, subprocess.CalledProcessError):
        paths = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [f for f in folders
                          if f not in ("build", "__pycache__", ".git")]
            paths += [os.path.relpath(os.path.join(folder, f), ROOT)
                      for f in files]
    return sorted({p for p in paths
                   if p and p.endswith(suffixes or "")
                   and os.path.isfile(os.path.join(ROOT, p))})


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


TOKENS = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)


def code_of(text):
    """C text with comments and the insides of literals blanked; the lines
    keep their numbers. Paths of includes are literals too, so they go."""
    def blank(match):
        token = match.group(0)
        lines = "\n" * token.count("\n")
        return '""' + lines if token[0] in "\"'" else " " + lines
    return TOKENS.sub(blank, text)
