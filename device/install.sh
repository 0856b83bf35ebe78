#!/bin/sh
# Install edge-fmnist on a Raspberry Pi or any other Debian machine, and remove it again.
set -eu

NAME=edge-fmnist
LINK=/usr/local/bin/$NAME
UNIT=/etc/systemd/system/$NAME.service
SETTINGS=/etc/$NAME.toml
# The unit's StateDirectory; systemd keeps that of a dynamic user in private/ and links to it.
STATE=/var/lib/$NAME
PRIVATE_STATE=/var/lib/private/$NAME
# The environment takes about 260 MB on aarch64 (emulation/README.md). Debian's packages, the wheels that pip fetches, and
# Picamera2 on a Pi come on top: 983 MB in all on a minimal armhf system.
NEEDED_MB=1100

prefix=/opt/$NAME
wheel=
python=/usr/bin/python3
action=install
dry_run=no
service=no
keep_settings=no
picamera2=auto

usage() {
    cat <<END
Usage: install.sh [OPTION]...
Install edge-fmnist and its browser page into a virtual environment of its own.

  --wheel FILE      install this wheel; default: the checkout that this script lies in
  --prefix DIR      where it goes; default: $prefix
  --service         also a systemd service that starts with the machine ($NAME.service, $SETTINGS)
  --picamera2       bring Picamera2 for the camera connector; default on a Raspberry Pi
  --no-picamera2    leave it out, as for a USB camera
  --dry-run         change nothing, say what would be done
  --uninstall       remove all of it, with the Debian packages that it brought
  --keep-settings   with --uninstall: leave $SETTINGS and what the service wrote in $STATE
  --help            show this

Safe to run again: what is there is kept or brought up to date, and settings are never overwritten.
Exit codes: 0 done; 1 a step failed, or not for this machine; 2 usage; 3 a file to install is not there.
END
}

say() { echo "install.sh: $*"; }

fail() {
    code=$1
    shift
    echo "install.sh: error: $*" >&2
    exit "$code"
}

# Do it, or with --dry-run say it.
run() {
    if [ "$dry_run" = yes ]; then
        echo "would run: $*"
    else
        "$@"
    fi
}

parse() {
    while [ $# -gt 0 ]; do
        case $1 in
        --wheel | --prefix)
            if [ $# -lt 2 ]; then fail 2 "$1 needs a value; see --help"; fi
            if [ "$1" = --wheel ]; then wheel=$2; else prefix=$2; fi
            shift
            ;;
        --wheel=*) wheel=${1#*=} ;;
        --prefix=*) prefix=${1#*=} ;;
        --service) service=yes ;;
        --picamera2) picamera2=yes ;;
        --no-picamera2) picamera2=no ;;
        --dry-run) dry_run=yes ;;
        --uninstall) action=uninstall ;;
        --keep-settings) keep_settings=yes ;;
        --help | -h) usage && exit 0 ;;
        *) fail 2 "unknown argument '$1'; see --help" ;;
        esac
        shift
    done
    if [ "$keep_settings" = yes ] && [ "$action" = install ]; then
        fail 2 "--keep-settings goes with --uninstall; installing never overwrites settings"
    fi
}

check_arguments() {
    prefix=${prefix%/}
    case $prefix in
    /?*) ;;
    *) fail 2 "--prefix: expected an absolute path below /, got '$prefix'" ;;
    esac
    # It goes into the service's unit, where blanks and % have meanings of their own.
    case $prefix in
    *[!A-Za-z0-9/._-]* | *..*) fail 2 "--prefix: expected letters, digits, and / . _ - only, got '$prefix'" ;;
    esac
    if [ -n "$(ls -A "$prefix" 2>/dev/null)" ] && [ ! -f "$prefix/.$NAME" ]; then
        fail 2 "--prefix: $prefix holds files of something else; name a new or empty folder"
    fi
    [ "$action" = install ] || return 0
    case $wheel in
    '') [ -f "$source/pyproject.toml" ] || fail 3 "$source is no checkout of $NAME; name a wheel with --wheel FILE" ;;
    edge_fmnist-*.whl | */edge_fmnist-*.whl) [ -f "$wheel" ] || fail 3 "--wheel: $wheel: no such file" ;;
    *) fail 2 "--wheel: expected a file edge_fmnist-VERSION-py3-none-any.whl, got '$wheel'" ;;
    esac
}

check_system() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        fail 1 "expected Debian or Raspberry Pi OS, with apt-get; elsewhere: docs/install.md"
    fi
    machine=$(uname -m)
    architecture=$(dpkg --print-architecture)
    case $architecture/$machine in
    arm64/* | amd64/*) ;;
    armhf/armv6l) fail 1 "this processor (ARMv6: Pi 1, Zero) has no TensorFlow Lite wheel; a Pi Zero 2 W or later has" ;;
    armhf/*) warn_32_bit ;;
    *) fail 1 "expected a 64-bit (arm64, amd64) or armhf system, got $architecture; there are no wheels for it" ;;
    esac
    # shellcheck source=/dev/null
    say "system: $architecture, kernel $machine, $(. /etc/os-release && echo "${PRETTY_NAME:-unknown}")"
}

# The figures: export/RESULTS.md, "The same file in three interpreters".
warn_32_bit() {
    say "32-bit system: LiteRT has no wheels for it, so tflite-runtime runs the models. Its wheel does not use XNNPACK"
    say "for int8: it named 1,746 images a second where LiteRT named 13,877 (x86-64, one thread). The way to full speed"
    say "is a 64-bit system, which every Pi from the Zero 2 W and the Pi 3 on can run."
}

check_python() {
    if [ ! -x $python ]; then
        say "Python: not here yet, comes with python3-venv"
        return 0
    fi
    version=$($python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    case $architecture/$version in
    armhf/3.10 | armhf/3.11 | arm64/3.1[0-3] | amd64/3.1[0-3]) say "Python: $version" ;;
    armhf/*) fail 1 "expected Python 3.10 or 3.11 on a 32-bit system (tflite-runtime has no later wheel), got $version; take a 64-bit system" ;;
    *) fail 1 "expected Python 3.10 to 3.13, got $version" ;;
    esac
}

check_disk() {
    folder=$prefix
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    free=$(df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1024) }')
    # An update writes little.
    [ -x "$prefix/venv/bin/$NAME" ] || [ "$free" -ge $NEEDED_MB ] ||
        fail 1 "expected $NEEDED_MB MB free at $folder, got $free MB; make room, or name another disk with --prefix"
    say "disk: $free MB free at $folder"
}

is_pi() { grep -qs "Raspberry Pi" /proc/device-tree/model; }

check_camera() {
    if [ "$picamera2" = auto ]; then
        picamera2=no
        if is_pi; then picamera2=yes; fi
    fi
    cameras=
    for device in /dev/video[0-9]*; do [ ! -e "$device" ] || cameras="$cameras $device"; done
    say "cameras:${cameras:- none; \`$NAME live --source demo\` draws a scene}"
    say "Picamera2: $picamera2"
}

check_root() {
    [ "$dry_run" = yes ] || [ "$(id -u)" = 0 ] || fail 1 "needs root, for apt-get and $prefix: run it with sudo"
}

check_service() {
    [ "$service" = yes ] || return 0
    command -v systemctl >/dev/null || fail 1 "--service needs systemd, which is not here"
    for file in "$NAME.service" "$NAME.toml"; do
        [ -f "$here/$file" ] || fail 3 "--service: $here/$file: no such file; run install.sh from its folder in the checkout"
    done
}

check_link() {
    if [ -e "$LINK" ] && [ "$(readlink "$LINK")" != "$prefix/venv/bin/$NAME" ]; then
        fail 1 "$LINK belongs to something else; remove it first"
    fi
}

# Whether the environment takes modules from the system's Python.
sees_system() { [ "$picamera2" = yes ] || [ "$architecture" = armhf ]; }

system_numpy() { $python -c 'import numpy; print(numpy.__version__)' 2>/dev/null; }

packages() {
    echo python3-venv
    [ "$picamera2" = no ] || echo python3-picamera2
    # No wheels of these two for 32-bit ARM; Debian compiles both.
    [ "$architecture" != armhf ] || printf '%s\n' python3-numpy python3-opencv
}

is_installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

list_installed() { dpkg-query -W -f '${Package} ${Status}\n' | awk '/ ok installed$/ { print $1 }' | sort; }

# Install what is missing, and write down what came with it, for --uninstall.
apt_install() {
    missing=
    for package in "$@"; do is_installed "$package" || missing="$missing $package"; done
    if [ -z "$missing" ]; then
        say "Debian packages: all there"
        return 0
    fi
    run apt-get update -q
    check_picamera2
    if [ "$dry_run" = no ]; then list_installed >"$prefix/before"; fi
    # shellcheck disable=SC2086 # one word each
    run env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
    if [ "$dry_run" = no ]; then
        list_installed | comm -13 "$prefix/before" - >>"$prefix/packages"
        rm "$prefix/before"
    fi
}

check_picamera2() {
    [ "$picamera2" = yes ] && [ "$dry_run" = no ] || return 0
    apt-cache show python3-picamera2 >/dev/null 2>&1 ||
        fail 1 "this system's archives have no python3-picamera2 (Raspberry Pi OS has); for a USB camera: --no-picamera2"
}

make_prefix() {
    run mkdir -p "$prefix"
    run touch "$prefix/.$NAME"
}

make_environment() {
    options=
    if sees_system; then options=--system-site-packages; fi
    # After an upgrade of Debian the old environment's Python is gone.
    if [ -d "$prefix/venv" ] && ! same_python; then options="$options --clear"; fi
    # shellcheck disable=SC2086 # one word each
    run $python -m venv $options "$prefix/venv"
}

same_python() {
    tag='import sys; print(sys.version_info[:2])'
    [ "$("$prefix/venv/bin/python" -c "$tag" 2>/dev/null)" = "$($python -c "$tag")" ]
}

pip() { run "$prefix/venv/bin/python" -m pip --quiet --disable-pip-version-check --no-cache-dir "$@"; }

# The checkout as a wheel.
build_wheel() {
    [ -z "$wheel" ] || return 0
    run rm -rf "$prefix/wheel"
    pip wheel --no-deps --wheel-dir "$prefix/wheel" "$source"
    for wheel in "$prefix"/wheel/edge_fmnist-*.whl; do :; done
}

install_package() {
    build_wheel
    # The same version with other contents counts as installed for pip, unless forced.
    pip install --force-reinstall --no-deps "$wheel"
    if [ "$dry_run" = yes ]; then
        echo "would write: $prefix/requirements.txt and $prefix/constraints.txt, from what the wheel requires"
    else
        requirements >"$prefix/requirements.txt"
        constraints >"$prefix/constraints.txt"
    fi
    # Wheels only: compiling one of these takes hours on a Pi. Pip would warn of a conflict: OpenCV's other build.
    pip install --only-binary :all: --no-warn-conflicts --requirement "$prefix/requirements.txt" --constraint "$prefix/constraints.txt"
}

# What the package requires here, but for
# - OpenCV: without a desktop the build without windows, which does not need libGL and so not 214 MB of Debian packages;
# - 32-bit ARM: a 64-bit kernel calls itself aarch64 there as well (Raspberry Pi OS runs one by default), so pip would
#   look for the wheels of a 64-bit system; and OpenCV and NumPy have none, so these come from Debian.
requirements() {
    "$prefix/venv/bin/python" - "$architecture" "$(opencv)" <<'END'
import sys
from importlib.metadata import requires

from pip._vendor.packaging.requirements import Requirement

EXTRAS = ("", "web", "mqtt")
architecture, opencv = sys.argv[1:]
environment = {"platform_machine": "armv7l"} if architecture == "armhf" else {}
names = {"opencv-python": opencv}
if architecture == "armhf":
    names |= {"opencv-python": None, "numpy": None}
for requirement in map(Requirement, requires("edge-fmnist")):
    marker = requirement.marker
    name = names.get(requirement.name, requirement.name)
    if name and (marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in EXTRAS)):
        print(f"{name}{requirement.specifier}")
END
}

opencv() {
    # Both are the module cv2 and cannot be there together; what is there stays.
    for kind in opencv-python-headless opencv-python; do
        if "$prefix/venv/bin/python" -m pip --disable-pip-version-check show --quiet $kind 2>/dev/null; then
            echo $kind
            return 0
        fi
    done
    if /sbin/ldconfig -p | grep -q 'libGL\.so\.1'; then echo opencv-python; else echo opencv-python-headless; fi
}

# Picamera2's modules are compiled for Debian's NumPy and fail beside another major version.
constraints() {
    sees_system || return 0
    numpy=$(system_numpy) || fail 1 "expected Debian's NumPy beside Picamera2, found none; run: apt-get install python3-numpy"
    echo "numpy==$numpy"
}

install_service() {
    [ "$service" = yes ] || return 0
    if [ -f "$SETTINGS" ]; then
        say "settings: kept $SETTINGS"
    else
        run install -m 644 "$here/$NAME.toml" "$SETTINGS"
    fi
    if [ "$dry_run" = yes ]; then
        echo "would write: $UNIT"
    else
        sed "s|^ExecStart=[^ ]*|ExecStart=$prefix/venv/bin/$NAME|" "$here/$NAME.service" >"$UNIT.new"
        mv "$UNIT.new" "$UNIT"
    fi
    start_service
}

start_service() {
    run systemctl enable --quiet "$NAME.service"
    if [ ! -d /run/systemd/system ]; then
        say "service: installed; it starts with the machine (systemd does not run now)"
        return 0
    fi
    run systemctl daemon-reload
    run systemctl restart "$NAME.service"
}

remove_service() {
    [ -f "$UNIT" ] || return 0
    if [ -d /run/systemd/system ]; then run systemctl stop "$NAME.service"; fi
    run systemctl disable --quiet "$NAME.service"
    run rm -f "$UNIT"
    if [ -d /run/systemd/system ]; then run systemctl daemon-reload; fi
}

check_works() {
    if [ "$dry_run" = yes ]; then
        echo "would run: $LINK doctor"
        return 0
    fi
    "$LINK" doctor || fail 1 "installed, but \`$NAME doctor\` found the problems above"
    say "installed $("$LINK" --version) in $prefix; try: $NAME live --source demo --serve"
}

install_all() {
    check_system
    check_python
    check_disk
    check_camera
    check_service
    check_link
    check_root
    make_prefix
    # shellcheck disable=SC2046 # one word each
    apt_install $(packages)
    # It may have come only now.
    check_python
    make_environment
    install_package
    run mkdir -p "$(dirname "$LINK")"
    run ln -sfn "$prefix/venv/bin/$NAME" "$LINK"
    install_service
    check_works
}

# Purge the packages that came with the installation, unless something else needs them by now.
remove_packages() {
    [ -s "$prefix/packages" ] || return 0
    brought=$(while read -r package; do if is_installed "$package"; then echo "$package"; fi; done <"$prefix/packages")
    [ -n "$brought" ] || return 0
    # shellcheck disable=SC2086 # one word each
    others=$(apt-get -s purge $brought | awk '/^(Purg|Remv) / { print $2 }' | sort -u >"$prefix/after" &&
        echo "$brought" | sort -u | comm -13 - "$prefix/after" | tr '\n' ' ')
    rm -f "$prefix/after"
    if [ -n "$others" ]; then
        say "kept the Debian packages that came with it, since these need them by now: $others"
        return 0
    fi
    # shellcheck disable=SC2086 # one word each
    run env DEBIAN_FRONTEND=noninteractive apt-get purge -q -y $brought
}

uninstall_all() {
    check_root
    if [ ! -e "$prefix/.$NAME" ] && [ ! -e "$UNIT" ]; then
        say "nothing to remove: not installed in $prefix"
        return 0
    fi
    remove_service
    if [ "$keep_settings" = no ]; then run rm -rf "$SETTINGS" "$STATE" "$PRIVATE_STATE"; fi
    if [ "$(readlink "$LINK")" = "$prefix/venv/bin/$NAME" ]; then run rm -f "$LINK"; fi
    remove_packages
    run rm -rf "$prefix"
    if [ "$dry_run" = no ]; then say "removed"; fi
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source=$(dirname "$here")
parse "$@"
check_arguments
case $action in
install) install_all ;;
uninstall) uninstall_all ;;
esac
