#!/usr/bin/env bash
# Prove the package on another processor: Debian 12 for it, below qemu-user, in a folder.
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
cache=${EDGE_FMNIST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/edge-fmnist}

usage() {
    cat <<END
Usage: emulate.sh [OPTION]...
Install the wheel with device/install.sh on an emulated Debian 12, run it there, and compare its answers with this machine's.

  --arch ARCH       arm64 (default), armhf (32-bit), or amd64 (this processor itself, to try the installer)
  --cpu NAME        of arm64: cortex-a76 (default, as in a Raspberry Pi 5) or cortex-a72 (as in a Pi 4)
  --wheel FILE      the wheel; default: built from this checkout
  --python FILE     a Python here with the same version of edge-fmnist; default: .venv/bin/python, else python3
  --output FILE     write the comparison to this JSON file
  --installer       instead: install twice on a clean system, uninstall, and list what is left behind
  --fresh           build the system anew
  --help            show this

Needs root, and the Debian packages debootstrap, qemu-user-static and binfmt-support. Systems are kept in
$cache/emulation (EDGE_FMNIST_CACHE). A machine that cannot do it is told so, with exit code 0;
with EDGE_FMNIST_ARM64=1 that is an error.
Exit codes: 0 done, or skipped; 1 a check failed; 2 usage.
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
    [ "$arch" != amd64 ] || [ "$(dpkg --print-architecture)" = amd64 ] || skip "this processor is no amd64"
    [ -z "$emulator" ] || register_emulator || skip "the kernel does not let $emulator be registered (binfmt_misc)"
}

# Tell the kernel to run programs of the other processor with qemu.
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
    "$python" -c 'import edge_fmnist' 2>/dev/null || fail 1 "$python has no edge-fmnist to compare with; name one with --python"
}

choose_wheel() {
    [ -n "$wheel" ] || {
        "$python" -m pip --quiet --disable-pip-version-check wheel --no-deps --wheel-dir "$work/wheel" "$PROJECT"
        wheel=$(echo "$work"/wheel/edge_fmnist-*.whl)
    }
}

# The archive that this machine's apt uses; empty leaves the choice to debootstrap.
mirror() {
    # shellcheck disable=SC2016 # apt-get fills these in
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
        awk -v suite=$SUITE '$1 == suite { print $2; exit }' || true
}

# A minimal Debian, made once.
make_system() {
    [ "$fresh" = no ] || rm -rf "$store"
    [ ! -d "$store/system" ] || return 0
    say "making Debian 12 for $arch in $store, once"
    rm -rf "$store/system.new"
    mkdir -p "$store"
    # shellcheck disable=SC2046 # no mirror is no argument
    debootstrap --variant=minbase --arch="$arch" $SUITE "$store/system.new" $(mirror) >"$store/debootstrap.log" 2>&1 || {
        tail -n 20 "$store/debootstrap.log" >&2
        skip "debootstrap failed: $store/debootstrap.log"
    }
    mv "$store/system.new" "$store/system"
}

# mount_system LOWER UPPER: what is changed in $root goes to UPPER, so that the layers below stay as they are.
mount_system() {
    mkdir -p "$root" "$2" "$2.work"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$2,workdir=$2.work" "$root" 2>/dev/null ||
        skip "cannot mount an overlay in $store"
    mkdir -p "$root/mnt/project" "$root/mnt/work"
    mount -t proc proc "$root/proc"
    # LiteRT asks /sys how many processors there are, and runs without XNNPACK where it gets no answer.
    mount -t sysfs -o ro sysfs "$root/sys"
    if [ "$arch" = arm64 ]; then
        cpuinfo >"$work/cpuinfo"
        mount --bind "$work/cpuinfo" "$root/proc/cpuinfo"
    fi
    # Devices can be written to all the same, but none removed.
    mount --bind -o ro /dev "$root/dev"
    mount --bind -o ro "$PROJECT" "$root/mnt/project"
    mount --bind "$work" "$root/mnt/work"
    cat /etc/resolv.conf >"$root/etc/resolv.conf"
}

# What the kernel says of such processors. qemu 7.2 shows this machine's own instead, at which LiteRT crashes.
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
        # shellcheck disable=SC2086 # three words
        printf 'CPU variant\t: %s\nCPU part\t: %s\nCPU revision\t: %s\n\n' $revision
    done
}

# Lazily where something still runs there, so that in any case nothing of this machine is left below $root.
unmount_system() {
    ! mountpoint -q "$root" || umount -R "$root" 2>/dev/null || umount -R -l "$root"
}

clean_up() {
    unmount_system && rm -rf --one-file-system "$work"
}

# What pip is told on this machine about where packages come from, as environment variables.
pip_environment() {
    local key value
    for key in index-url extra-index-url trusted-host proxy cert; do
        value=$("$python" -m pip config get ":env:.$key" 2>/dev/null || "$python" -m pip config get "global.$key" 2>/dev/null) ||
            continue
        # Folders of this machine are not there.
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
    inside sh /mnt/project/device/install.sh --wheel "/mnt/work/$(basename "$wheel")" >"$work/install.log" 2>&1 || {
        tail -n 40 "$work/install.log" >&2
        fail 1 "device/install.sh failed"
    }
}

# Another installer or other requirements make another layer.
layer_key() {
    { cat "$PROJECT/device/install.sh" && unzip -p "$wheel" '*/METADATA' | grep '^Requires-Dist'; } | sha256sum | cut -c1-12
}

# The system with all that the package needs, made once; then the wheel goes in as an update.
make_layer() {
    layer=$store/installed-$(layer_key)
    [ ! -d "$layer" ] || return 0
    say "installing for the first time"
    rm -rf "$store"/installed-*
    mount_system "$store/system" "$layer.new"
    install_inside
    unmount_system
    rm -rf "$layer.new.work"
    mv "$layer.new" "$layer"
}

compare() {
    make_layer
    mount_system "$layer:$store/system" "$work/changes"
    say "updating"
    install_inside
    say "running it"
    "$python" "$PROJECT/device/emulation/first_images.py" $IMAGES "$work/data"
    inside sh /mnt/project/device/emulation/exercise.sh /opt/edge-fmnist/venv/bin/python /mnt/work/data /mnt/work/there
    sh "$PROJECT/device/emulation/exercise.sh" "$python" "$work/data" "$work/here"
    "$python" "$PROJECT/device/emulation/compare.py" "$work/here" "$work/there" ${output:+--output "$output"}
}

# Every path below the root but those of apt's and dpkg's own books, with what a regular file holds.
list_files() {
    (cd "$root" && find . -xdev \( -path ./var/cache -o -path ./var/log -o -path ./var/lib/apt -o -path ./var/lib/dpkg -o \
        -path ./mnt -o -path ./etc/ld.so.cache \) -prune -o -type f -exec sha256sum {} + -o -print | sort -k 2)
}

list_packages() { inside dpkg-query -W; }

check_installer() {
    mount_system "$store/system" "$work/changes"
    list_files >"$work/files.before"
    list_packages >"$work/packages.before"
    for time in first second; do
        say "installing for the $time time"
        install_inside
    done
    say "$(du -sm "$root/opt/edge-fmnist" | cut -f1) MB in /opt/edge-fmnist"
    inside edge-fmnist samples --output /tmp/samples
    inside edge-fmnist classify /tmp/samples
    rm -rf "$root/tmp/samples"
    inside sh /mnt/project/device/install.sh --uninstall >"$work/install.log" 2>&1 || fail 1 "$(tail -n 20 "$work/install.log")"
    list_files >"$work/files.after"
    list_packages >"$work/packages.after"
    # A line that is on one side only.
    diff "$work/packages.before" "$work/packages.after" || fail 1 "packages were left behind, or taken (above)"
    diff "$work/files.before" "$work/files.after" || fail 1 "files were left behind, or changed (above)"
    say "installed twice, removed, nothing left behind"
}

parse "$@"
check_machine
store=$cache/emulation/$arch
choose_python
mkdir -p "$store"
work=$(mktemp -d "$store/run.XXXXXX")
root=$work/root
trap clean_up EXIT
choose_wheel
cp "$wheel" "$work"
mapfile -t environment < <(pip_environment)
make_system
if [ "$installer" = yes ]; then check_installer; else compare; fi
