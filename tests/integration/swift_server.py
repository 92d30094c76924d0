"""A real S3 server for tests: Debian's Swift with its s3api, on the loopback.

It checks signatures, dates, regions and hashes as Amazon does, and answers
conditional requests with 501. All four servers run in one Python process with
a scratch folder; the services of the packages are not used.

Run as a program it is that process: swift_server.py ROOT PORT{4}.
"""
import hashlib
import hmac
import http.client
import os
import re
import subprocess
import sys
import time

ACCESS_KEY = "mesh:backup"
SECRET_KEY = "s3cretkey"
READER = ("mesh:reader", "r3aderkey")  # owns nothing
REGION = "us-east-1"
PYTHON = "/usr/bin/python3"  # Debian's, where its packages are
STORAGE = ("account", "container", "object")

SWIFT_CONF = """[swift-hash]
swift_hash_path_suffix = testsuffix
swift_hash_path_prefix = testprefix
[storage-policy:0]
name = p0
default = yes
"""

STORAGE_CONF = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
devices = {root}/srv
mount_check = false
swift_dir = {root}/etc
recon_cache_path = {root}/cache
log_statsd_host =
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
allow_versions = true
fallocate_reserve = 0
"""

FILTERS = ("catch_errors gatekeeper healthcheck cache listing_formats bulk "
           "s3api tempauth slo dlo versioned_writes symlink")
OPTIONS = {
    # Nobody listens there: the cache is only ever missed.
    "cache": "use = egg:swift#memcache\nmemcache_servers = 127.0.0.1:1\n",
    "s3api": "use = egg:swift#s3api\ns3_acl = false\nlocation = %s\n" % REGION,
    "tempauth": "use = egg:swift#tempauth\nuser_%s = %s .admin\n"
                "user_%s = %s\n" % (
                    ACCESS_KEY.replace(":", "_"), SECRET_KEY,
                    READER[0].replace(":", "_"), READER[1]),
    "versioned_writes": "use = egg:swift#versioned_writes\n"
                        "allow_object_versioning = true\n",
}


def installed():
    return subprocess.run(
        [PYTHON, "-c", "import swift.proxy.server, swift.obj.server"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        check=False).returncode == 0


def _write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def prepare(root, ports):
    """The configuration; ports as in STORAGE, then the proxy's."""
    etc = os.path.join(root, "etc")
    for part in ("etc", "srv/d1", "cache"):
        os.makedirs(os.path.join(root, part))
    _write(os.path.join(etc, "swift.conf"), SWIFT_CONF)
    for name, port in zip(STORAGE, ports):
        _write(os.path.join(etc, name + ".conf"), STORAGE_CONF.format(
            name=name, port=port, root=root))
    proxy = ("[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = %d\nworkers = 0\n"
             "swift_dir = %s\n[pipeline:main]\npipeline = %s proxy-server\n"
             "[app:proxy-server]\nuse = egg:swift#proxy\n"
             "allow_account_management = true\naccount_autocreate = true\n"
             % (ports[3], etc, FILTERS))
    for name in FILTERS.split():
        proxy += "[filter:%s]\n%s" % (name, OPTIONS.get(
            name, "use = egg:swift#%s\n" % name))
    _write(os.path.join(etc, "proxy.conf"), proxy)


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Swift:
    """A running server, as its operator sees it: signed by other code than
    the one that is tested."""

    def __init__(self, port):
        self.port = port

    @property
    def endpoint(self):
        return "http://127.0.0.1:%d" % self.port

    def _authorization(self, method, path, query, headers):
        names = ";".join(sorted(headers))
        canonical = "\n".join(
            [method, path, query]
            + ["%s:%s" % (name, headers[name]) for name in sorted(headers)]
            + ["", names, headers["x-amz-content-sha256"]])
        day = headers["x-amz-date"][:8]
        scope = "%s/%s/s3/aws4_request" % (day, REGION)
        text = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + SECRET_KEY).encode()
        for part in (day, REGION, "s3", "aws4_request"):
            key = _hmac(key, part)
        return ("AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,"
                "Signature=%s" % (ACCESS_KEY, scope, names,
                                  _hmac(key, text).hex()))

    def call(self, method, path, body=b"", query="", more=None):
        """Status and body; path begins with the bucket."""
        path = "/" + path
        headers = dict(more or {}, **{
            "host": "127.0.0.1:%d" % self.port,
            "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
            "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
        })
        headers["authorization"] = self._authorization(method, path, query,
                                                       headers)
        connection = http.client.HTTPConnection("127.0.0.1", self.port,
                                                timeout=20)
        try:
            connection.request(method, path + ("?" if query else "") + query,
                               body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def names(self, bucket):
        """Every key of a bucket."""
        status, body = self.call("GET", bucket, query="list-type=2")
        assert status == 200, (status, body)
        return re.findall(r"<Key>([^<]*)</Key>", body.decode())


def _rings(etc, ports):
    """One device in one zone holds everything, once."""
    from swift.common.ring import RingBuilder
    for name, port in zip(STORAGE, ports):
        builder = RingBuilder(4, 1, 1)
        builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1,
                         "ip": "127.0.0.1", "port": port, "device": "d1",
                         "replication_ip": "127.0.0.1",
                         "replication_port": port, "meta": ""})
        builder.rebalance()
        builder.get_ring().save(os.path.join(etc, name + ".ring.gz"))


def serve(root, ports):
    import eventlet
    eventlet.monkey_patch()
    from eventlet import wsgi as eventlet_wsgi
    from swift.common import storage_policy, utils, wsgi
    etc = os.path.join(root, "etc")
    utils.set_swift_dir(etc)
    utils.SWIFT_CONF_FILE = os.path.join(etc, "swift.conf")
    utils.validate_hash_conf()
    storage_policy.reload_storage_policies()
    _rings(etc, ports)
    pool = eventlet.GreenPool(500)
    with open(os.devnull, "w", encoding="utf-8") as null:
        for name, port in zip(STORAGE + ("proxy",), ports):
            app = wsgi.loadapp(os.path.join(etc, name + ".conf"),
                               global_conf={"log_name": name})
            pool.spawn_n(eventlet_wsgi.server,
                         eventlet.listen(("127.0.0.1", port)), app, log=null,
                         protocol=wsgi.SwiftHttpProtocol)
        print("up", flush=True)
        pool.waitall()


if __name__ == "__main__":
    serve(sys.argv[1], [int(port) for port in sys.argv[2:6]])
