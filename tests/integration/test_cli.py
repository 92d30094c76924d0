#!/usr/bin/env python3
"""The command line against real processes: every verb, its exit codes, and
what bad input gets."""
import base64
import json
import os
import signal
import socket
import stat

import harness
from harness import check, check_equal, check_in, cli, wait_until

# Every byte value, with NUL and malformed UTF-8.
BINARY = bytes(range(256)) * 3 + b"\xff\xfe\n\n"


def refused(result, code, *parts):
    """The exit code, nothing on standard output, and words on the other."""
    check_equal(result.returncode, code, "exit code of %r: %r"
                % (result.args[1:], result.stderr[:500]))
    check_equal(result.stdout, b"", "standard output of %r" % result.args[1:])
    for part in parts:
        check_in(part.encode(), result.stderr, "message")


# ---- without a node ----

def test_usage_errors(t):
    refused(cli(), 64, "help")
    refused(cli("putt", "a", "b"), 64, "did you mean 'put'")
    refused(cli("set", "ad", "a", "b"), 64, "did you mean 'set add'")
    refused(cli("set"), 64, "confmesh set members")
    refused(cli("xyzzy"), 64, "unknown verb", "help")
    refused(cli("put", "a"), 64, "KEY VALUE", "usage:")
    refused(cli("put", "a", "b", "c"), 64, "too many")
    refused(cli("put", "a", "b", "--jsn"), 64, "did you mean --json")
    refused(cli("get", "a", "--values"), 64, "no flag of 'get'")
    refused(cli("get", "a", "--api"), 64, "--api needs a value")
    refused(cli("get", "a", "--api", "nonsense"), 64, "HOST:PORT")
    refused(cli("get", "a", "--json=yes"), 64, "takes no value")
    refused(cli("put", "a", "b", "--flags", "-1"), 64, "--flags")
    refused(cli("put", "a", "b", "--if-version", "x"), 64, "--if-version")
    refused(cli("put", "a", "b", "--if-absent", "--if-version",
                "0" * 32 + ":1"), 64, "exclude")
    refused(cli("watch", "--count", "0"), 64, "--count")
    refused(cli("watch", "--from", "x"), 64, "--from")
    refused(cli("token", "create", "--uses", "0"), 64, "--uses")
    refused(cli("token", "create", "--ttl", "soon"), 64, "--ttl", "30s")
    refused(cli("node"), 64, "--data DIR", "--dev")
    for everywhere in ("0.0.0.0:7946", "[::]:7946"):
        refused(cli("node", "--data", t.path("n"), "--bind", everywhere), 64,
                "peers are told this address")
    refused(cli("node", "--data", t.path("n"), "--snapshot-interval", "1m"),
            64, "--snapshot-to")
    # A target that cannot be meant is told at once, not after an interval.
    refused(cli("node", "--data", t.path("n"), "--snapshot-to", "ftp://x"),
            64, "--snapshot-to", "supported are")
    refused(cli("init", t.path("no", "such"), "--name", "a",
                "--no-passphrase", "--authority", t.path("k")), 2,
            "create that first")
    refused(cli("snapshot", "list", t.path("absent")), 5, "the right place")
    refused(cli("export", "a"), 64, "DIR, --json or --ini")
    refused(cli("import", t.path("absent")), 2, "cannot read")
    for verb in ("help", "version", "--version", "--help"):
        check_equal(cli(verb).returncode, 0, verb)


def test_help_teaches_every_verb(t):
    text = cli("help").stdout.decode()
    for verb in ("init", "node", "token create", "put", "get", "del",
                 "revoke", "list", "watch", "set add", "set remove",
                 "set revoke", "set members", "txn", "conflicts", "explain",
                 "resolve", "import", "export",
                 "members", "status", "snapshot now", "snapshot list",
                 "snapshot verify", "version"):
        check_in("  " + verb + " ", text)
        page = cli("help", *verb.split())
        check_equal(page.returncode, 0, verb)
        check(page.stdout.count(b"confmesh " + verb.encode()) > 1,
              "an example of " + verb)
        check_equal(cli(*verb.split(), "--help").stdout, page.stdout, verb)
    refused(cli("help", "pot"), 64, "did you mean 'put'")


def test_bad_keys_and_values(t):
    refused(cli("get", ""), 64, "KEY", "1 to 480")
    refused(cli("get", "k" * 481), 64, "KEY", "481", "480")
    refused(cli("get", b"\xff"), 64, "KEY", "UTF-8")
    refused(cli("list", "p" * 481), 64, "PREFIX", "480")
    refused(cli("set", "add", "k" * 300, "e" * 300), 64, "600", "480")
    refused(cli("set", "add", "k", b"\xc3"), 64, "ELEMENT", "UTF-8")
    refused(cli("put", "k", "-", stdin=b"x" * 1000001), 64, "VALUE",
            "1000000")
    refused(cli("put", "k", "v", "--author", "a" * 65), 64, "--author", "64")


def test_bad_transactions(t):
    refused(cli("txn", stdin=""), 64, "no operation")
    refused(cli("txn", stdin="{"), 64, "malformed JSON", "line 1")
    refused(cli("txn", stdin='{"a":1}'), 64, "ops")
    refused(cli("txn", stdin='[1,2'), 64, "malformed JSON")
    refused(cli("txn", stdin="put a 1\nfrob b"), 64, "line 2", "frob")
    refused(cli("txn", stdin='put a "open'), 64, "line 1", "quote")
    refused(cli("txn", t.path("absent")), 2, "cannot open")


def test_unreachable(t):
    refused(cli("get", "a", "--data", t.path("none")), 2, "no node answers",
            "confmesh node --data")
    refused(cli("get", "a", "--api", "127.0.0.1:%d" % harness.free_port()), 2,
            "no node answers")
    refused(cli("status", env={"CONFMESH_API": "unix:" + t.path("x")}), 2,
            t.path("x"))
    refused(cli("status", env={"XDG_RUNTIME_DIR": t.directory}), 2,
            t.path("confmesh/api.sock"))
    # What is typed goes before what was exported.
    refused(cli("status", "--data", t.path("y"),
                env={"CONFMESH_API": "unix:" + t.path("x")}), 2,
            t.path("y/api.sock"))
    refused(cli("watch", "--api", t.path("x")), 2, "no node answers")


def test_what_listens_is_no_node(t):
    for noise in (b"220 mail ready\r\n", b"HTTP/1.1 200 OK\r\n", b"\0" * 50):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            path = t.path("s%d" % len(noise))
            listener.bind(path)
            listener.listen()
            process = harness.Process([harness.CONFMESH, "get", "a", "--api",
                                       path], t.directory, "noise")
            connection, _ = listener.accept()
            connection.sendall(noise)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(harness.DEADLINE_S)
            while connection.recv(65536):
                pass
            connection.close()
            check_equal(process.wait(), 2)


# ---- init ----

def test_init(t):
    data, key = t.path("d"), t.path("authority.key")
    result = cli("init", data, "--name", "alpha", "--no-passphrase",
                 cwd=t.directory)
    check_equal(result.returncode, 0, result.stderr)
    check_in(b"fingerprint", result.stdout)
    check_in(b"move it off", result.stdout.replace(b"\n", b" "))
    check_equal(stat.S_IMODE(os.stat(key).st_mode), 0o600)
    with open(key, "rb") as file:
        before = file.read()
    # A directory that holds a node, and an authority that exists, stay.
    refused(cli("init", data, "--name", "beta", "--no-passphrase",
                "--authority", t.path("other.key")), 2, "holds a node")
    check(not os.path.exists(t.path("other.key")), "no second authority")
    refused(cli("init", t.path("e"), "--name", "beta", "--no-passphrase",
                "--authority", key), 2, key)
    check(not os.path.exists(t.path("e")), "nothing was made")
    with open(key, "rb") as file:
        check_equal(file.read(), before)


def test_init_refusals(t):
    refused(cli("init", t.path("d"), "--no-passphrase"), 64, "--name")
    refused(cli("init", t.path("d"), "--name", "a b", "--no-passphrase"), 64,
            "--name")
    refused(cli("init", t.path("d"), "--name", "a" * 65, "--no-passphrase"),
            64, "64")
    refused(cli("init", t.path("d"), "--name", "a", cwd=t.directory), 64,
            "--passphrase-file")
    refused(cli("init", t.path("d"), "--name", "a", "--no-passphrase",
                "--passphrase-file", t.path("p")), 64, "passphrase")
    check_equal(os.listdir(t.directory), [])


def test_init_with_passphrase(t):
    with open(t.path("p"), "w", encoding="utf-8") as file:
        file.write("correct horse\n")
    result = cli("init", t.path("d"), "--name", "a", "--authority",
                 t.path("k"), "--passphrase-file", t.path("p"), "--json")
    check_equal(result.returncode, 0, result.stderr)
    told = json.loads(result.stdout)
    check_equal(told["authority"], t.path("k"))
    check_equal(len(told["fingerprint"]), 64)


# ---- with a node ----

def test_dev_node(t):
    """`node --dev`, then commands that name no node at all."""
    runtime = {"XDG_RUNTIME_DIR": t.directory}
    node = harness.Process([harness.CONFMESH, "node", "--dev"], t.directory,
                           "dev", env=runtime, cwd=t.directory)

    def works():
        check(node.running(), node.stderr()[-1000:])
        return cli("put", "greeting", "hello", env=runtime).returncode == 0
    wait_until(works, "the throwaway node answers")
    check_equal(cli("get", "greeting", env=runtime).stdout, b"hello")
    check_equal(node.stop(), 0)
    refused(cli("get", "greeting", env=runtime), 2, "no node answers")


def dev_node(t, name):
    """A throwaway node that answers, and its directory."""
    os.makedirs(t.path("run-" + name))
    env = {"XDG_RUNTIME_DIR": t.path("run-" + name), "TMPDIR": t.path("tmp")}
    node = harness.Process([harness.CONFMESH, "node", "--dev"],
                           t.directory, name, env=env)

    def works():
        check(node.running(), node.stderr()[-1000:])
        return cli("put", "of", name, env=env).returncode == 0
    wait_until(works, "the throwaway node answers")
    told = node.stderr().decode()
    path = told.split("throwaway node in ")[1].split(",")[0]
    return node, os.path.dirname(path), env


def test_killed_dev_nodes_are_swept(t):
    """What a killed one left goes with the next start, and nothing else."""
    os.makedirs(t.path("tmp"))
    os.makedirs(t.path("precious/node"))
    os.mkdir(t.path("tmp/confmesh-dev-abc"), 0o700)
    os.mkdir(t.path("tmp/confmesh-dev-shared"))
    os.chmod(t.path("tmp/confmesh-dev-shared"), 0o755)
    os.symlink(t.path("precious"), t.path("tmp/confmesh-dev-abcdef"))
    with open(t.path("tmp/confmesh-dev-ABCDEF"), "wb"):
        pass
    living, stays, env = dev_node(t, "living")
    killed, goes, _ = dev_node(t, "killed")
    killed.kill()
    check(os.path.exists(os.path.join(goes, "node", "data.mdb")), "it is left")
    others = sorted(set(os.listdir(t.path("tmp"))) - {os.path.basename(goes)})
    last, new, _ = dev_node(t, "last")
    check_in(b"deleted what 1 killed", last.stderr())
    check_equal(sorted(os.listdir(t.path("tmp"))),
                sorted(others + [os.path.basename(new)]))
    check(os.path.exists(t.path("precious/node")))
    check_equal(cli("get", "of", env=env).stdout, b"living")
    check(os.path.exists(stays))
    for node in (living, last):
        check_equal(node.stop(), 0)
    check(not os.path.exists(new), "deleted at the end")


def test_put_get_del(t):
    node = t.mesh()
    check_equal(node.ok("put", "a/b", "v"), b"")
    check_equal(node.ok("get", "a/b"), b"v")
    node.ok("put", "bin", "-", stdin=BINARY)
    check_equal(node.ok("get", "bin"), BINARY)
    node.ok("put", "empty", "")
    check_equal(node.ok("get", "empty"), b"")
    largest = os.urandom(1000000)
    node.ok("put", "k" * 480, "-", stdin=largest)
    check(node.ok("get", "k" * 480) == largest, "the largest value")
    odd = "a b/%20?x=1&y#z/\u00e9/\"\\"
    node.ok("put", odd, "odd")
    check_equal(node.ok("get", odd), b"odd")
    refused(node.cli("get", "absent"), 1)
    refused(node.cli("get", "absent", "--json"), 1)
    node.ok("del", "a/b")
    refused(node.cli("get", "a/b"), 1)
    node.ok("del", "a/b")
    # Flags stand anywhere.
    check_equal(cli("--data", node.data, "--flags", "7", "put", "f", "--json",
                    "x").returncode, 0)
    entry = json.loads(node.ok("get", "f", "--json"))
    check_equal((entry["value"], entry["flags"]), ("x", 7))
    node.ok("put", "--", "dash", "-v")
    check_equal(node.ok("get", "dash"), b"-v")


def test_conditions(t):
    node = t.mesh()
    node.ok("put", "k", "1", "--if-absent")
    refused(node.cli("put", "k", "2", "--if-absent"), 1)
    version = json.loads(node.ok("get", "k", "--json"))["version"]
    node.ok("put", "k", "2", "--if-version", version)
    refused(node.cli("put", "k", "3", "--if-version", version), 1)
    refused(node.cli("put", "k", "3", "--if-version", version, "--json"), 1)
    check_equal(node.ok("get", "k"), b"2")
    token = json.loads(node.ok("put", "k", "4", "--json"))["token"]
    check_in(":", token)


def test_revoke(t):
    node = t.mesh()
    node.ok("put", "users/bob", "x")
    node.ok("revoke", "users/bob")
    refused(node.cli("get", "users/bob"), 1)
    refused(node.cli("put", "users/bob", "back"), 2, "revoked")
    node.ok("del", "users/bob")
    refused(node.cli("put", "users/bob", "back"), 2, "revoked")
    node.ok("put", "users/bob", "back", "--unrevoke")
    check_equal(node.ok("get", "users/bob"), b"back")
    siblings = json.loads(node.ok("get", "users/bob", "--siblings"))
    check_equal(len(siblings["siblings"]), 1)


def test_list(t):
    node = t.mesh()
    check_equal(node.ok("list"), b"")
    for key in ("b", "a/2", "a/1", "a\n3"):
        node.ok("put", key, "v\t" + key)
    check_equal(node.ok("list").splitlines(), [b"a\\n3", b"a/1", b"a/2",
                                               b"b"])
    check_equal(node.ok("list", "a/").splitlines(), [b"a/1", b"a/2"])
    check_equal(node.ok("list", "a/", "--values").splitlines(),
                [b"a/1\tv\\ta/1", b"a/2\tv\\ta/2"])
    lines = node.ok("list", "--values", "--json").splitlines()
    check_equal([json.loads(line)["key"] for line in lines],
                ["a\n3", "a/1", "a/2", "b"])
    check_equal(node.ok("list", "zzz"), b"")


def test_sets(t):
    node = t.mesh()
    refused(node.cli("set", "members", "s"), 1)
    node.ok("set", "add", "s/x", "one", "two words", "a/b")
    check_equal(sorted(node.ok("set", "members", "s/x").splitlines()),
                [b"a/b", b"one", b"two words"])
    node.ok("set", "remove", "s/x", "one")
    node.ok("set", "revoke", "s/x", "a/b")
    refused(node.cli("set", "add", "s/x", "a/b"), 2, "revoked")
    check_equal(json.loads(node.ok("set", "members", "s/x",
                                   "--json"))["members"], ["two words"])
    node.ok("set", "add", "s/x", "a/b", "--unrevoke")
    check_equal(len(node.ok("set", "members", "s/x").splitlines()), 2)
    # A register of the same name is another thing.
    refused(node.cli("get", "s/x"), 1)


def test_transactions(t):
    node = t.mesh()
    text = ('# all or none\nput t/a "one two\\n\\x00\\xff"\nput t/b 2 '
            '--if-absent --flags 9\nset-add t/s x\n')
    node.ok("txn", stdin=text)
    check_equal(node.ok("get", "t/a"), b"one two\n\x00\xff")
    check_equal(json.loads(node.ok("get", "t/b", "--json"))["flags"], 9)
    refused(node.cli("txn", stdin="put t/c 1\nput t/b 3 --if-absent\n"), 1)
    refused(node.cli("get", "t/c"), 1)
    with open(t.path("x.json"), "w", encoding="utf-8") as file:
        json.dump({"ops": [{"op": "del", "key": "t/a"},
                           {"op": "put", "key": "t/d", "value64":
                            base64.b64encode(BINARY).decode()}]}, file)
    answer = json.loads(node.ok("txn", t.path("x.json"), "--json"))
    check(answer["wrote"])
    check_equal(node.ok("get", "t/d"), BINARY)
    refused(node.cli("get", "t/a"), 1)
    refused(node.cli("txn", stdin='[{"op":"fly","key":"a"}]'), 2, "op")


def test_watch(t):
    node = t.mesh()
    node.ok("put", "w/0", "before")
    revision = node.status()["revision"]
    watch = node.watch("w/", "--from", str(revision), "--count", "4")
    node.ok("put", "w/1", "one\ntwo")
    node.ok("put", "other", "not seen")
    node.ok("set", "add", "w/s", "e")
    node.ok("del", "w/1")
    node.ok("revoke", "w/0")
    check_equal(watch.wait(), 0)
    check_equal(watch.lines(), [b"put w/1 one\\ntwo", b"add w/s e",
                                b"delete w/1", b"delete w/0 (revoked)"])
    # The same as JSON, each line with what resumes after it.
    again = json.loads(node.cli("watch", "w/", "--from", str(revision),
                                "--count", "1", "--json").stdout)
    check_equal((again["kind"], again["key"], again["value"]),
                ("put", "w/1", "one\ntwo"))
    rest = node.cli("watch", "w/", "--from", again["id"], "--count", "3")
    check_equal(rest.stdout.splitlines(), watch.lines()[1:])


def test_watch_survives_restart(t):
    """No change is missed or told twice over an orderly end and a SIGKILL."""
    node = t.mesh()
    node.ok("put", "w/first", "0")
    revision = node.status()["revision"]
    watch = node.watch("w/", "--from", str(revision - 1))
    wanted = [b"put w/first 0"]
    for i in range(6):
        for j in range(5):
            node.ok("put", "w/%d-%d" % (i, j), str(j))
            wanted.append(b"put w/%d-%d %d" % (i, j, j))
        if i % 2 == 0:
            node.stop()
        else:
            node.kill()
        node.start()
    wait_until(lambda: len(watch.lines()) >= len(wanted), "all changes")
    check_equal(watch.lines(), wanted)
    check_equal(watch.stop(), 0, "exit code of an interrupted watch")


# ---- import and export ----

def make_tree(root):
    files = {
        "a": b"one", "dir/b": b"two\n", "dir/deep/er/c": BINARY,
        "dir/empty": b"", "with blank/\u00e9": b"x", "%41": b"percent",
        "large": os.urandom(700000), "limit": os.urandom(1000000),
    }
    for i in range(700):
        files["many/%03d" % i] = b"%d" % i
    for path, content in files.items():
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content)
    return files


def read_tree(root):
    found = {}
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, root)] = file.read()
    return found


def test_import_export_tree(t):
    node = t.mesh()
    tree = t.path("tree")
    files = make_tree(tree)
    # What is no plain file stays out, and is told.
    os.symlink("/etc/passwd", t.path("tree/link"))
    os.symlink("/etc", t.path("tree/dirlink"))
    os.mkfifo(t.path("tree/pipe"))
    with open(os.fsencode(tree) + b"/bad\xff", "wb") as file:
        file.write(b"x")
    with open(t.path("tree/huge"), "wb") as file:
        file.truncate(1000001)
    result = node.cli("import", tree, "--prefix", "im/port", "--json")
    check_equal(result.returncode, 0, result.stderr[-500:])
    told = json.loads(result.stdout)
    check_equal((told["keys"], told["skipped"]), (len(files), 5))
    for part in (b"link: a symlink", b"dirlink: a symlink",
                 b"pipe: no regular file", b"bad\\xff: the name",
                 b"huge: larger than 1000000"):
        check_in(part, result.stderr)
    check_equal(node.values(), {"im/port/" + k: v for k, v in files.items()})
    node.ok("put", "im/portable", "not below the prefix")
    out = t.path("out")
    node.ok("export", "im/port", out)
    check_equal(read_tree(out), files)
    # Never over what exists, unless told so; then nothing else changes.
    with open(os.path.join(out, "a"), "wb") as file:
        file.write(b"mine")
    refused(node.cli("export", "im/port", out), 2, "exists already",
            "nothing was written")
    with open(os.path.join(out, "a"), "rb") as file:
        check_equal(file.read(), b"mine")
    node.ok("export", "im/port/dir", os.path.join(out, "dir"), "--force")
    with open(os.path.join(out, "dir/b"), "wb") as file:
        file.write(b"mine")
    node.ok("export", "im/port/dir", os.path.join(out, "dir"), "--force")
    os.unlink(os.path.join(out, "a"))
    check_equal(read_tree(out), {k: v for k, v in files.items() if k != "a"})
    refused(node.cli("export", "nothing/here", t.path("none")), 1)


def test_export_stays_inside(t):
    node = t.mesh()
    for number, key in enumerate(("../out", "a/../../out", "/abs", "a//b",
                                  "./a", "dir/", "a/.")):
        node.ok("put", "%d/%s" % (number, key), "x")
        refused(node.cli("export", str(number) + "/", t.path("d")), 2,
                "cannot be a file")
    check_equal(read_tree(t.path("d")), {})
    check(not os.path.exists(t.path("out")), "nothing beside the directory")
    node.ok("put", "both/a", "file")
    node.ok("put", "both/a/b", "below")
    refused(node.cli("export", "both", t.path("d")), 2, "--json")
    # A symlink in the target is not followed.
    node.ok("put", "links/inner/x", "data")
    os.makedirs(t.path("target"))
    os.makedirs(t.path("outside"))
    os.symlink(t.path("outside"), t.path("target/inner"))
    for force in ([], ["--force"]):
        refused(node.cli("export", "links", t.path("target"), *force), 2)
    check_equal(os.listdir(t.path("outside")), [])


def test_import_export_json(t):
    node = t.mesh()
    with open(t.path("x.json"), "w", encoding="utf-8") as file:
        json.dump({"app": {"name": "x", "port": 80, "on": True,
                           "list": [1, 2], "deep": {"er": "\u00e9"}},
                   "with/slash": "s", "nothing": None,
                   "bin": {"$base64": base64.b64encode(BINARY).decode()}},
                  file)
    node.ok("import", t.path("x.json"), "--prefix", "j/")
    wanted = {"app/name": b"x", "app/port": b"80", "app/on": b"true",
              "app/list": b"[1,2]", "app/deep/er": "\u00e9".encode(),
              "with/slash": b"s", "bin": BINARY}
    check_equal(node.values(), {"j/" + k: v for k, v in wanted.items()})
    text = node.ok("export", "j", "--json")
    node.ok("import", "-", "--prefix", "again", stdin=text)
    check_equal({k: v for k, v in node.values().items()
                 if k.startswith("again/")},
                {"again/" + k: v for k, v in wanted.items()})
    before = node.values()
    for bad, part in (("{", "malformed JSON"), ("[]", "object"),
                      ('{"a":1,"a":2}', "duplicate"),
                      ('{"a/b":"1","a":{"b":"2"}}', "twice"),
                      ('{"ok":"1","%s":"2"}' % ("k" * 481), "480"),
                      ('{"ok":"1","b":{"$base64":"?"}}', "base64"),
                      ('{"ok":"1","":"2"}', "1 to 480")):
        refused(node.cli("import", "-", stdin=bad), 64, part)
    check_equal(node.values(), before, "nothing of a bad file is written")


def test_import_export_ini(t):
    node = t.mesh()
    with open(t.path("x.ini"), "w", encoding="utf-8") as file:
        file.write("top = 1\n[a]\nx = two words\ny=\n[b/c]\nlong = 1\n  2\n")
    node.ok("import", t.path("x.ini"), "--prefix", "i")
    wanted = {"top": b"1", "a/x": b"two words", "a/y": b"",
              "b/c/long": b"1\n2"}
    check_equal(node.values(), {"i/" + k: v for k, v in wanted.items()})
    text = node.ok("export", "i", "--ini")
    node.ok("import", "-", "--ini", "--prefix", "k", stdin=text)
    check_equal({k[2:]: v for k, v in node.values().items()
                 if k.startswith("k/")}, wanted)
    refused(node.cli("import", "-", "--ini", stdin="a=1\nnoise\n"), 64,
            "line 2")
    refused(node.cli("import", "-", "--ini", stdin="a=%s\n" % ("x" * 300)), 64,
            "line 1")
    node.ok("put", "i/bin", "-", stdin=BINARY)
    refused(node.cli("export", "i", "--ini"), 2, "--json")


def test_import_revoked(t):
    node = t.mesh()
    node.ok("put", "p/b", "x")
    node.ok("revoke", "p/b")
    text = '{"a":"1","b":"2"}'
    refused(node.cli("import", "-", "--prefix", "p", stdin=text), 2, "revoked")
    check_equal(node.values(), {}, "a batch is all or nothing")
    node.ok("import", "-", "--prefix", "p", "--unrevoke", stdin=text)
    check_equal(node.values(), {"p/a": b"1", "p/b": b"2"})


# ---- the mesh ----

def test_status_members_token(t):
    node = t.mesh()
    status = node.status()
    check_equal((status["name"], status["ready"]), ("alpha", True))
    check_in(b"revision", node.ok("status"))
    members = node.members()
    check_equal([(m["name"], m["self"]) for m in members], [("alpha", True)])
    check_in(b"alpha", node.ok("members"))
    check_equal(status["clocks"]["ahead"], False)
    check_equal(status["clocks"]["held"], {"events": 0})
    check_in(b"all looks well", node.ok("doctor"))
    check_equal(json.loads(node.ok("doctor", "--json")), {"findings": []})
    lines = node.ok("token", "create", "--uses", "2",
                    "--ttl", "5m").decode().splitlines()
    check_equal(len(lines), 1)
    check(len(lines[0]) > 40 and " " not in lines[0], "a token alone")
    check_in("token", json.loads(node.ok("token", "create", "--json")))
    # Over TCP tokens are refused.
    node.stop()
    node.api_port = harness.free_port()
    node.start()
    tcp = "127.0.0.1:%d" % node.api_port
    check_equal(cli("status", "--api", tcp).returncode, 0)
    refused(cli("token", "create", "--api", tcp), 2, "403")


def test_join_by_file_stdin_argument(t):
    first = t.mesh()
    first.ok("put", "k", "v")
    token = first.token("--uses", "3")
    with open(t.path("token"), "w", encoding="utf-8") as file:
        file.write(token + "\n")
    for number, how in enumerate((token, t.path("token"))):
        node = t.node("n%d" % number)
        node.start("--name", node.name, "--join", how)
        check_equal(node.ok("get", "k"), b"v")
    node = t.node("n2")
    with open(t.path("token"), "rb") as file:
        node.process = harness.Process(
            [harness.CONFMESH, "node", "--data", node.data, "--bind",
             node.address, "--name", "n2", "--join", "-"], t.directory, "n2",
            stdin=file)
        node.wait_ready()
    check_equal(node.ok("get", "k"), b"v")
    refused(cli("node", "--data", t.path("x"), "--join", t.path("absent")),
            64, "no file")
    refused(cli("node", "--data", t.path("x"), "--join", "-"), 64, "empty")


def test_snapshot_verbs(t):
    node = t.mesh()
    node.ok("put", "a", "1")
    target = t.path("snap")
    check_in(b"read back", node.ok("snapshot", "now", "--to", "snap",
                                   cwd=t.directory))
    node.ok("put", "b", "2")
    report = json.loads(node.ok("snapshot", "now", "--to", "file:" + target,
                                "--json"))
    check_equal(report["entries"], 2)
    check_equal(len(cli("snapshot", "list", target).stdout.splitlines()), 2)
    good = cli("snapshot", "verify", target, "--json")
    check_equal(good.returncode, 0, good.stderr)
    listed = json.loads(good.stdout)
    check_equal((listed["entries"], listed["good"]), (2, True))
    check_equal(cli("snapshot", "verify", target, "--trust",
                    listed["authority"]).returncode, 0)
    refused(cli("snapshot", "verify", target, "--trust", "0" * 64), 4,
            "--trust")
    check_equal(cli("snapshot", "verify", "--to", target,
                    listed["name"]).returncode, 0)
    refused(cli("snapshot", "list"), 64, "URL")
    refused(cli("snapshot", "list", target, "--to", target), 64, "once")
    refused(cli("snapshot", "list", t.path("absent")), 5)
    refused(node.cli("snapshot", "now"), 2)


def test_node_refusals(t):
    node = t.mesh()
    # A directory in use, a port in use, another name.
    other = harness.Process([harness.CONFMESH, "node", "--data", node.data,
                             "--bind", "127.0.0.1:%d" % harness.free_port()],
                            t.directory, "second")
    check(other.wait() not in (0, None), "the directory is in use")
    check_in(b"in use", other.stderr())
    node.stop()
    wrong = node.cli("node", "--name", "beta", "--bind", node.address)
    check(wrong.returncode != 0, "another name")
    check_in(b"alpha", wrong.stderr)
    # A dead node's socket is replaced.
    node.start()
    node.kill()
    check(os.path.exists(os.path.join(node.data, "api.sock")),
          "a socket file is left over")
    node.start()
    check_equal(node.stop(), 0)
    node.start()
    node.process.signal(signal.SIGINT)
    check_equal(node.process.wait(), 0)


if __name__ == "__main__":
    harness.main(globals())
