"""Who works on the bucket: kvfs, rclone mount, s3fs, and a program without a mount. All with the same server."""

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

from subjects import Mounted, Subject

BUCKET = "bench"
USER, SECRET = "kvfs", "kvfssecret"


class Server:
    """The S3 server in memory of benches/bucket_programs, with so many keys below `million/` at its start."""

    def __init__(self, program, keys=0):
        self.process = subprocess.Popen(
            [program, str(keys)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self.url = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def counts(self):
        """What it was asked since the last time."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def environment(self):
        """For clients of the SDKs' kind. A bundle of certificates makes this rclone refuse to start."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return inherited | {
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }


class Counted:
    """A subject whose requests are those that the server counts. They are zero before each piece of work."""

    server = None

    def daemon_usage(self):
        usage = Subject.daemon_usage(self)
        return usage and usage | {"requests": {}}

    def asked(self):
        return self.server.counts()


class Mount(Counted, Mounted):
    def __init__(self, run, server, name):
        super().__init__(run, name)
        self.server = server

    def start(self):
        log = open(self.run.work / f"{self.name.split(',')[0]}.log", "ab")
        return subprocess.Popen(
            self.command(), env=self.server.environment() | self.environment(), start_new_session=True, stderr=log, stdout=log
        )

    def environment(self):
        return {}


class Kvfs(Mount):
    """kvfs with its defaults."""

    def command(self):
        program = self.run.programs["kvfs"]
        source = f"s3://{BUCKET}"
        return [program, "mount", "--foreground", "--endpoint", self.server.url, source, str(self.mountpoint)]


class Rclone(Mount):
    """rclone mount as it is by default: close returns when the object is there, as that of the others."""

    def command(self):
        return ["rclone", "--config", os.devnull, "mount", f"b:{BUCKET}", str(self.mountpoint)]

    def environment(self):
        return {
            "RCLONE_CONFIG_B_TYPE": "s3",
            "RCLONE_CONFIG_B_PROVIDER": "Other",
            "RCLONE_CONFIG_B_ENV_AUTH": "true",
            "RCLONE_CONFIG_B_ENDPOINT": self.server.url,
        }


class S3fs(Mount):
    """s3fs with its defaults."""

    def command(self):
        password = self.run.work / "s3fs.password"
        password.touch(0o600)
        password.write_text(f"{USER}:{SECRET}")
        options = f"url={self.server.url},use_path_request_style,sigv4,passwd_file={password}"
        return ["s3fs", BUCKET, str(self.mountpoint), "-f", "-o", options]


class Plain(Counted, Subject):
    """A program over object_store that does the same without a mount."""

    name = "object_store"

    def __init__(self, run, server):
        self.run, self.server = run, server
        self.mountpoint = Path("/")

    @contextmanager
    def started(self):
        yield None

    def call(self, *arguments):
        command = [self.run.programs["plain"], *map(str, arguments)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=self.server.environment())
        return json.loads(done.stdout)
