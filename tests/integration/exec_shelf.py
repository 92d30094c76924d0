"""What the commands of the tests do alike, as text of their programs: reading
what they keep in a folder. Names that end with "+" are being written."""

READS = r'''
    elif verb == "get":
        if os.path.isfile(path):
            with open(path, "rb") as f:
                content = f.read()
            say("ok %d" % len(content), content)
        else:
            say("absent")
    elif verb == "list":
        below = os.path.join(root, words[0].strip("/"))
        names = sorted(n for n in os.listdir(below) if n[-1] != "+") \
            if os.path.isdir(below) else []
        text = "".join("%s%s\n" % (n, "/" if os.path.isdir(
            os.path.join(below, n)) else "") for n in names).encode()
        say("ok %d" % len(text), text)
'''
