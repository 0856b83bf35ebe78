#!/usr/bin/env bash
# Test the package on another processor architecture: Debian 12 under qemu-user, in a chroot.
set -euo pipefail

PROJECT=$(cd "$(dirname "$0")/.." && pwd)
SUITE=bookworm
IMAGES=1000

arch=arm64
cpu=cortex-a76
wheel=
python=
output=
installer=no
fresh=no
cache=${EDGE_FMNIST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/edge-fmnist}

usage() {
    cat <<END
Usage: emulate.sh [OPTION]...
Install the wheel with device/install.sh on emulated Debian 12, run it there, and compare the results with this machine.

  --arch ARCH       arm64 (default), armhf (32-bit), or amd64 (not emulated, to test the installer)
  --cpu NAME        for arm64: cortex-a76 (default; Raspberry Pi 5) or cortex-a72 (Pi 4)
  --wheel FILE      wheel to test; default: built from this checkout
  --python FILE     Python on this machine with the same version of edge-fmnist; default: .venv/bin/python, else python3
  --output FILE     write the comparison to this JSON file
  --installer       instead: install on a clean system, update, roll back, purge, and list the remaining changes
  --fresh           create the Debian system again
  --help            print this help

Needs root and the Debian packages debootstrap, qemu-user-static and binfmt-support. Systems are cached in
$cache/emulation (EDGE_FMNIST_CACHE). If this machine cannot run the test, it is skipped with exit code 0;
with EDGE_FMNIST_ARM64=1 that is an error.
Exit codes: 0 success or skipped; 1 a check failed; 2 usage error.
END
}

say() { echo "emulate.sh: $*" >&2; }

fail() {
    code=$1
    shift
    say "error: $*"
    exit "$code"
}

skip() {
    if [ "${EDGE_FMNIST_ARM64:-}" = 1 ]; then fail 1 "$arch check: cannot run: $*"; fi
    echo "$arch check: skipped: $*"
    exit 0
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
        --arch | --cpu | --wheel | --python | --output)
            [ $# -ge 2 ] || fail 2 "$1 needs a value; see --help"
            declare -g "${1#--}=$2"
            shift
            ;;
        --installer) installer=yes ;;
        --fresh) fresh=yes ;;
        --help | -h) usage && exit 0 ;;
        *) fail 2 "unknown argument '$1'; see --help" ;;
        esac
        shift
    done
    case $arch in
    arm64) emulator=qemu-aarch64 ;;
    armhf) emulator=qemu-arm ;;
    amd64) emulator= ;;
    *) fail 2 "--arch: expected arm64, armhf or amd64, got '$arch'" ;;
    esac
    case $cpu in
    cortex-a72 | cortex-a76) ;;
    *) fail 2 "--cpu: expected cortex-a72 or cortex-a76, got '$cpu'" ;;
    esac
    [ -z "$wheel" ] || [ -f "$wheel" ] || fail 2 "--wheel: $wheel: no such file"
}

check_machine() {
    [ "$(id -u)" = 0 ] || skip "needs root"
    command -v debootstrap >/dev/null || skip "debootstrap is not installed"
    [ "$arch" != amd64 ] || [ "$(dpkg --print-architecture)" = amd64 ] || skip "this machine is not amd64"
    [ -z "$emulator" ] || register_emulator || skip "cannot register $emulator with the kernel (binfmt_misc)"
}

# Register qemu with the kernel for programs of the other architecture.
register_emulator() {
    local binfmt=/proc/sys/fs/binfmt_misc
    command -v "$emulator-static" >/dev/null || skip "qemu-user-static is not installed"
    [ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt 2>/dev/null || return 1
    [ -e "$binfmt/$emulator" ] || update-binfmts --enable "$emulator" 2>/dev/null || return 1
    grep -q enabled "$binfmt/$emulator"
}

choose_python() {
    [ -n "$python" ] || python=$PROJECT/.venv/bin/python
    [ -x "$python" ] || python=$(command -v python3)
    "$python" -c 'import edge_fmnist' 2>/dev/null || fail 1 "$python has no edge-fmnist to compare with; choose another with --python"
}

choose_wheel() {
    [ -n "$wheel" ] || {
        "$python" -m pip --quiet --disable-pip-version-check wheel --no-deps --wheel-dir "$work/wheel" "$PROJECT"
        wheel=$(echo "$work"/wheel/edge_fmnist-*.whl)
    }
}

# The Debian mirror of this machine's apt; empty for debootstrap's default.
mirror() {
    # shellcheck disable=SC2016 # placeholders of apt-get
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
        awk -v suite=$SUITE '$1 == suite { print $2; exit }' || true
}

# Create a minimal Debian system, unless cached.
make_system() {
    [ "$fresh" = no ] || rm -rf "$store"
    [ ! -d "$store/system" ] || return 0
    say "creating Debian 12 for $arch in $store"
    rm -rf "$store/system.new"
    mkdir -p "$store"
    # shellcheck disable=SC2046 # no argument if empty
    debootstrap --variant=minbase --arch="$arch" $SUITE "$store/system.new" $(mirror) >"$store/debootstrap.log" 2>&1 || {
        tail -n 20 "$store/debootstrap.log" >&2
        skip "debootstrap failed: $store/debootstrap.log"
    }
    mv "$store/system.new" "$store/system"
}

# mount_system LOWER UPPER: changes in $root are written to UPPER; LOWER is not modified.
mount_system() {
    mkdir -p "$root" "$2" "$2.work"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$2.work" "$root" 2>/dev/null ||
        skip "cannot mount an overlay in $store"
    mkdir -p "$root/mnt/project" "$root/mnt/work"
    mount -t proc proc "$root/proc"
    # LiteRT reads the number of processors from /sys and does not use XNNPACK without it.
    mount -t sysfs -o ro sysfs "$root/sys"
    if [ "$arch" = arm64 ]; then
        cpuinfo >"$work/cpuinfo"
        mount --bind "$work/cpuinfo" "$root/proc/cpuinfo"
    fi
    # Read-only: devices can still be written to, but not removed.
    mount --bind -o ro /dev "$root/dev"
    mount --bind -o ro "$PROJECT" "$root/mnt/project"
    mount --bind "$work" "$root/mnt/work"
    cat /etc/resolv.conf >"$root/etc/resolv.conf"
}

# /proc/cpuinfo of a real board. qemu 7.2 exposes the host's, with which LiteRT crashes.
cpuinfo() {
    local number features revision
    case $cpu in
    cortex-a72) features="fp asimd evtstrm crc32 cpuid" revision="0x0 0xd08 3" ;;
    cortex-a76)
        features="fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
        revision="0x4 0xd0b 1"
        ;;
    esac
    for ((number = 0; number < $(nproc); number++)); do
        printf 'processor\t: %d\nBogoMIPS\t: 108.00\nFeatures\t: %s\n' "$number" "$features"
        printf 'CPU implementer\t: 0x41\nCPU architecture: 8\n'
        # shellcheck disable=SC2086 # three arguments
        printf 'CPU variant\t: %s\nCPU part\t: %s\nCPU revision\t: %s\n\n' $revision
    done
}

# Lazily if it is still in use, so that no folder of this machine remains mounted below $root.
unmount_system() {
    ! mountpoint -q "$root" || umount -R "$root" 2>/dev/null || umount -R -l "$root"
}

clean_up() {
    unmount_system && rm -rf --one-file-system "$work"
}

# Print this machine's pip index, proxy and certificate settings as environment variables.
pip_environment() {
    local key value
    for key in index-url extra-index-url trusted-host proxy cert; do
        value=$("$python" -m pip config get ":env:.$key" 2>/dev/null || "$python" -m pip config get "global.$key" 2>/dev/null) ||
            continue
        # Folders of this machine are not available in the chroot.
        value=$(tr ' ' '\n' <<<"$value" | grep -v '^file:' | tr '\n' ' ') || continue
        if [ $key = cert ]; then
            cp -L "${value% }" "$work/certificates.crt"
            value=/mnt/work/certificates.crt
        fi
        key=${key//-/_}
        echo "PIP_${key^^}=${value% }"
    done
    env | grep -iE '^(https?|no)_proxy=' || true
    if [ "$arch" = arm64 ]; then echo "QEMU_CPU=$cpu"; fi
}

inside() {
    env -i "${environment[@]}" HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        chroot "$root" "$@"
}

install_inside() {
    inside sh /mnt/project/device/install.sh "$@" >"$work/install.log" 2>&1 || {
        tail -n 40 "$work/install.log" >&2
        fail 1 "device/install.sh $* failed"
    }
}

# Changes with the installer and the package's requirements.
layer_key() {
    {
        cat "$PROJECT/device/install.sh" "$PROJECT/device/constraints.txt"
        unzip -p "$wheel" '*/METADATA' | grep '^Requires-Dist'
    } | sha256sum | cut -c1-12
}

# Create the system with the package and all dependencies, unless cached.
make_layer() {
    layer=$store/installed-$(layer_key)
    [ ! -d "$layer" ] || return 0
    say "installing"
    rm -rf "$store"/installed-*
    mount_system "$store/system" "$layer.new"
    install_inside --wheel "$wheel_inside"
    unmount_system
    rm -rf "$layer.new.work"
    mv "$layer.new" "$layer"
}

compare() {
    make_layer
    mount_system "$layer:$store/system" "$work/changes"
    # The cached layer has the same requirements but possibly another version of the package.
    inside $venv/python -m pip --quiet install --no-cache-dir --force-reinstall --no-deps "$wheel_inside"
    say "running"
    "$python" "$PROJECT/device/emulation/photographs.py" write "$work/data" $IMAGES
    inside sh /mnt/project/device/emulation/run_commands.sh $venv/python /mnt/work/data /mnt/work/emulated
    sh "$PROJECT/device/emulation/run_commands.sh" "$python" "$work/data" "$work/native"
    "$python" "$PROJECT/device/emulation/compare.py" "$work/native" "$work/emulated" ${output:+--output "$output"}
}

# List all paths with the hashes of regular files, except the records of apt and dpkg.
list_files() {
    (cd "$root" && find . -xdev \( -path ./var/cache -o -path ./var/log -o -path ./var/lib/apt -o -path ./var/lib/dpkg -o \
        -path ./mnt -o -path ./etc/ld.so.cache \) -prune -o -type f -exec sha256sum {} + -o -print | sort -k 2)
}

list_packages() { inside dpkg-query -W; }

check_installer() {
    mount_system "$store/system" "$work/changes"
    list_files >"$work/files.before"
    list_packages >"$work/packages.before"
    say "installing"
    install_inside --wheel "$wheel_inside"
    say "$(du -sm "$root/opt/edge-fmnist" | cut -f1) MB in /opt/edge-fmnist"
    say "updating and rolling back"
    install_inside --wheel "$wheel_inside"
    install_inside --rollback
    inside edge-fmnist samples --output /tmp/samples
    inside edge-fmnist classify /tmp/samples
    rm -rf "$root/tmp/samples"
    install_inside --purge
    list_files >"$work/files.after"
    list_packages >"$work/packages.after"
    diff "$work/packages.before" "$work/packages.after" || fail 1 "the installed packages changed (see above)"
    diff "$work/files.before" "$work/files.after" || fail 1 "files changed (see above)"
    say "installed, updated, rolled back and purged: no changes remain"
}

parse "$@"
check_machine
store=$cache/emulation/$arch
choose_python
mkdir -p "$store"
# Not in the store, which --fresh deletes.
work=$(mktemp -d "$cache/emulation/run.XXXXXX")
root=$work/root
venv=/opt/edge-fmnist/venv/bin
trap clean_up EXIT
choose_wheel
cp "$wheel" "$work"
wheel_inside=/mnt/work/$(basename "$wheel")
mapfile -t environment < <(pip_environment)
make_system
if [ "$installer" = yes ]; then check_installer; else compare; fi
