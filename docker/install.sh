#!/usr/bin/env bash
# All that the Dockerfile's RUN lines do. A test does the same without a builder of images.
#
#   system TARGET          Debian packages of the image that runs
#   locked TARGET PREFIX   a virtual environment with the packages of docker/TARGET.lock
#   wheel FOLDER           hydra-ray's wheel
#   package FOLDER PREFIX  that wheel into the environment
#   check TARGET PREFIX    whether it works for whoever runs it, without a network
#
# TARGET is cpu or gpu. TOOLS is where what builds is put (pip, uv, hatchling); it is not part of the image.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
tools=${TOOLS:-/opt/tools}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

lock_of() {
    case $1 in
    cpu | gpu) echo "$here/$1.lock" ;;
    *)
        echo "install.sh: there is no target '$1': cpu or gpu" >&2
        exit 2
        ;;
    esac
}

tools() {
    test -x "$tools/bin/uv" && return
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --no-cache-dir --require-hashes --requirement "$here/build.lock"
}

# wget: KubeRay's probes call it. tini: Ray's workers leave children that PID 1 has to bury.
# gcc, g++: Triton compiles kernels while it serves; what runs on CPUs compiles nothing.
system() {
    lock_of "$1" >/dev/null
    local packages=(ca-certificates tini wget)
    if test "$1" = gpu; then packages+=(g++ gcc libc6-dev); fi
    apt-get update
    apt-get install --yes --no-install-recommends "${packages[@]}"
    rm -rf /var/lib/apt/lists/*
    # Manifests run pods as 1000:100, the user of Ray's own images.
    useradd --uid 1000 --gid 100 --create-home hydra
}

locked() {
    local lock sources=()
    lock=$(lock_of "$1")
    tools
    # The CPU build of torch comes from a wheel folder where pip is told of one, else from PyTorch's index.
    if test "$1" = cpu; then
        if test -n "${PIP_FIND_LINKS:-}"; then sources=(--find-links "$PIP_FIND_LINKS"); else sources=(--torch-backend cpu); fi
    fi
    "$tools/bin/uv" venv --quiet --python "$(command -v python3)" "$2"
    "$tools/bin/uv" pip sync --quiet --compile-bytecode --python "$2/bin/python" "${sources[@]}" "$lock"
}

# The same commit gives the same bytes: hatchling dates all files by SOURCE_DATE_EPOCH, or by a date of its own.
wheel() {
    tools
    mkdir -p "$1"
    "$tools/bin/pip" wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir "$1" "$here/.."
}

# pip of the image: the tools are gone by then.
package() {
    python3 -m pip --python "$2/bin/python" install --quiet --force-reinstall --no-deps --no-index \
        --no-cache-dir "$1"/hydra_ray-*.whl
}

check() {
    lock_of "$1" >/dev/null
    cd /
    HF_HUB_OFFLINE=1 "$2/bin/python" - <<'PYTHON'
from hydra_ray.models.encoder import TextsEncoder
from hydra_ray.settings.learning import EncoderSettings

encoder = EncoderSettings()
loaded = TextsEncoder.load(encoder.name, encoder.max_tokens, encoder.computing, lexical=True)
print(f"encoder {encoder.name}: {loaded.encoding_width} wide, without a network")
PYTHON
    "$2/bin/hydra-ray" settings generator >/dev/null
}

case ${1:-} in
system | wheel | locked | package | check) "$@" ;;
*)
    sed -n 's/^#   //p' "$0" >&2
    exit 2
    ;;
esac
