#!/bin/sh
# Install, update, roll back and uninstall edge-fmnist on Raspberry Pi OS or Debian.
#
# The prefix contains:
#   env-N         virtual environments, each with the systemd unit of its version
#   venv          link to the active environment
#   previous      link to the environment that was active before, for --rollback
#   packages      names of the Debian packages that the installation added
#   .edge-fmnist  marks the folder as an installation
set -eu
umask 022

NAME=edge-fmnist
# Prepended to all paths outside of the prefix; only the tests set it.
ROOT=${EDGE_FMNIST_ROOT:-}
PYTHON=$ROOT/usr/bin/python3
LINK=$ROOT/usr/local/bin/$NAME
UNIT=$ROOT/etc/systemd/system/$NAME.service
SETTINGS=$ROOT/etc/$NAME.toml
# Password of the MQTT broker, token of the page.
SECRETS=$ROOT/etc/$NAME.env
ROTATION=$ROOT/etc/logrotate.d/$NAME
# The unit's StateDirectory. For a dynamic user, systemd keeps it in private/ and links to it.
STATE=$ROOT/var/lib/$NAME
PRIVATE_STATE=$ROOT/var/lib/private/$NAME
# Free disk space. An environment takes about 260 MB on aarch64 (emulation/README.md); a first installation on a minimal
# armhf system used 983 MB with Debian's packages and downloads.
INSTALL_MB=1100
UPDATE_MB=400

prefix=/opt/$NAME
wheel=
action=install
dry_run=no
service=no
purge=no
picamera2=auto
version=

usage() {
    cat <<END
Usage: install.sh [OPTION]...
Install or update edge-fmnist with browser view and MQTT in its own virtual environment.

  --wheel FILE      wheel to install; default: built from the checkout that contains this script
  --prefix DIR      installation folder; default: $prefix
  --service         also install and start the systemd service ($NAME.service, $SETTINGS)
  --picamera2       install Picamera2 for the camera connector; default on a Raspberry Pi
  --no-picamera2    do not install Picamera2, for example with a USB camera
  --dry-run         print the commands without running them
  --rollback        switch back to the environment before the last update
  --uninstall       remove the installation and the Debian packages that it added; keep settings and data
  --purge           uninstall, and also delete $SETTINGS, $SECRETS and $STATE
  --help            print this help

An update builds a new environment and activates it if its \`doctor\` passes; otherwise the old one stays active.
Existing settings are never overwritten.
Exit codes: 0 success; 1 a step failed or the system is not supported; 2 usage error; 3 a file to install is missing.
END
}

say() { echo "install.sh: $*"; }

fail() {
    code=$1
    shift
    echo "install.sh: error: $*" >&2
    exit "$code"
}

# Run a command; with --dry-run, only print it.
attempt() {
    if [ "$dry_run" = yes ]; then echo "would run: $*"; else "$@"; fi
}

# The same, and stop if it fails.
run() { attempt "$@" || fail 1 "this command failed: $*"; }

# Set the action, or fail if there is another one.
choose() {
    if [ "$action" != install ] && [ "$action" != "$1" ]; then fail 2 "expected --rollback or --uninstall, not both"; fi
    action=$1
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
        --rollback) choose rollback ;;
        --uninstall) choose uninstall ;;
        --purge) choose uninstall && purge=yes ;;
        --help | -h) usage && exit 0 ;;
        *) fail 2 "unknown argument '$1'; see --help" ;;
        esac
        shift
    done
}

check_arguments() {
    case $prefix in
    /*) ;;
    *) fail 2 "--prefix: expected an absolute path other than /, got '$prefix'" ;;
    esac
    # The path becomes part of the systemd unit, where spaces and % have a special meaning.
    case $prefix in
    *[!A-Za-z0-9/._-]* | *..*) fail 2 "--prefix: expected only letters, digits and / . _ -, got '$prefix'" ;;
    esac
    # Normalized, since it is compared with the paths in the unit and the link.
    prefix=$(realpath -ms "$prefix")
    [ "$prefix" != / ] || fail 2 "--prefix: expected an absolute path other than /, got '$prefix'"
    [ ! -L "$prefix" ] || fail 2 "--prefix: $prefix is a symbolic link; give the folder that it leads to"
    # --purge also deletes settings that an earlier --uninstall kept.
    if [ "$purge" = no ] && [ -n "$(ls -A "$prefix" 2>/dev/null)" ] && [ ! -f "$prefix/.$NAME" ]; then
        fail 2 "--prefix: $prefix contains files that do not belong to $NAME; choose a new or empty folder"
    fi
    command=$prefix/venv/bin/$NAME
    [ "$action" = install ] || return 0
    [ -f "$here/constraints.txt" ] || fail 3 "$here/constraints.txt: no such file; run install.sh in the checkout"
    case $wheel in
    '') [ -f "$source/pyproject.toml" ] || fail 3 "$source is not a checkout of $NAME; use --wheel FILE" ;;
    edge_fmnist-*.whl | */edge_fmnist-*.whl) [ -f "$wheel" ] || fail 3 "--wheel: $wheel: no such file" ;;
    *) fail 2 "--wheel: expected a file edge_fmnist-VERSION-py3-none-any.whl, got '$wheel'" ;;
    esac
}

check_system() {
    if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
        fail 1 "expected Debian or Raspberry Pi OS with apt-get; for other systems see docs/install.md"
    fi
    machine=$(uname -m)
    architecture=$(dpkg --print-architecture)
    case $architecture/$machine in
    arm64/* | amd64/*) ;;
    armhf/armv6l) fail 1 "ARMv6 (Pi 1, Zero, Zero W) is not supported; use a Pi Zero 2 W or later" ;;
    armhf/*)
        # The figures are from export/RESULTS.md, "Interpreters".
        say "Warning: 32-bit system: LiteRT has no 32-bit wheel, and tflite-runtime is slower: it classified 1,746"
        say "images per second where LiteRT classified 13,877 (x86-64, one thread). Use a 64-bit system if possible."
        ;;
    *) fail 1 "expected an arm64, amd64 or armhf system, got $architecture, for which there are no wheels" ;;
    esac
    # shellcheck source=/dev/null
    say "system: $architecture, kernel $machine, $(. /etc/os-release && echo "${PRETTY_NAME:-unknown}")"
}

check_python() {
    if [ ! -x "$PYTHON" ]; then
        say "Python: not installed yet, comes with python3-venv"
        return 0
    fi
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    case $architecture/$version in
    armhf/3.10 | armhf/3.11 | arm64/3.1[0-3] | amd64/3.1[0-3]) say "Python: $version" ;;
    armhf/*) fail 1 "expected Python 3.10 or 3.11 on a 32-bit system, got $version; use a 64-bit system" ;;
    *) fail 1 "expected Python 3.10 to 3.13, got $version" ;;
    esac
}

check_disk() {
    folder=$prefix
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    free=$(df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1024) }')
    if [ -x "$command" ]; then needed=$UPDATE_MB; else needed=$INSTALL_MB; fi
    [ "$free" -ge $needed ] ||
        fail 1 "expected $needed MB free in $folder, got $free MB; free space, or choose another disk with --prefix"
    say "disk: $free MB free in $folder"
}

check_camera() {
    if [ "$picamera2" = auto ]; then
        picamera2=no
        if grep -qs "Raspberry Pi" /proc/device-tree/model; then picamera2=yes; fi
    fi
    cameras=$(find /dev -maxdepth 1 -name 'video[0-9]*' | sort | xargs)
    say "cameras: ${cameras:-none; try \`$NAME live --source demo\`}; Picamera2: $picamera2"
}

check_root() {
    [ "$dry_run" = yes ] || [ "$(id -u)" = 0 ] || fail 1 "needs root for apt-get and $prefix; run it with sudo"
}

# The program that the installed unit runs.
unit_program() { sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$UNIT" 2>/dev/null || true; }

owns_unit() { [ "$(unit_program)" = "$command" ]; }

owns_link() { [ "$(readlink "$LINK")" = "$command" ]; }

check_service() {
    [ "$service" = yes ] || return 0
    command -v systemctl >/dev/null || fail 1 "--service needs systemd, which is not installed"
    for file in "$NAME.service" "$NAME.toml" "$NAME.logrotate"; do
        [ -f "$here/$file" ] || fail 3 "--service: $here/$file: no such file; run install.sh in the checkout"
    done
    # ProtectHome= in the unit.
    case $prefix in
    /home/* | /root/* | /run/user/*) fail 2 "--service: the service cannot read $prefix; choose a folder in /opt or /srv" ;;
    esac
    owner=$(unit_program)
    [ -z "$owner" ] || [ "$owner" = "$command" ] || [ ! -x "$owner" ] ||
        fail 1 "--service: $UNIT already runs $owner; uninstall that first, or omit --service"
}

# Whether the environment uses modules of the system's Python.
sees_system() { [ "$picamera2" = yes ] || [ "$architecture" = armhf ]; }

packages() {
    echo python3-venv
    [ "$picamera2" = no ] || echo python3-picamera2
    # These two have no wheels for 32-bit ARM, but Debian packages.
    [ "$architecture" != armhf ] || printf '%s\n' python3-numpy python3-opencv
}

is_installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# Install missing packages. All new ones are recorded first, for --uninstall, and those that failed are removed again.
apt_install() {
    missing=
    for package in "$@"; do is_installed "$package" || missing="$missing $package"; done
    if [ -z "$missing" ]; then
        say "Debian packages: already installed"
        return 0
    fi
    run apt-get update -q
    if [ "$picamera2" = yes ] && ! attempt apt-cache show python3-picamera2 >/dev/null; then
        fail 1 "no package python3-picamera2 (Raspberry Pi OS has it); for a USB camera use --no-picamera2"
    fi
    # shellcheck disable=SC2086 # one word per package
    set -- install -q -y --no-install-recommends $missing
    [ "$dry_run" = yes ] || apt-get -s "$@" | awk '/^Inst [^ ]+ \(/ { print $2 }' >>"$prefix/packages"
    # A daemon that it starts must not keep the lock.
    if attempt env DEBIAN_FRONTEND=noninteractive apt-get "$@" 9<&-; then return 0; fi
    # Also those that are unpacked, but not configured.
    while read -r name; do
        if dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -Eq ' (installed|unpacked|half-|triggers)'; then
            echo "$name"
        fi
    done <"$prefix/packages" >"$prefix/packages.new"
    mv "$prefix/packages.new" "$prefix/packages"
    fail 1 "apt-get could not install$missing"
}

# Delete all environments but the active and the previous one: old versions, and leftovers of failed updates.
remove_unused() {
    for environment in "$prefix"/env-*; do
        [ "${environment##*/}" = "$(readlink "$prefix/venv")" ] ||
            [ "${environment##*/}" = "$(readlink "$prefix/previous")" ] || rm -rf "$environment"
    done
}

build_environment() {
    number=1
    while [ -e "$prefix/env-$number" ]; do number=$((number + 1)); done
    new=$prefix/env-$number
    [ "$dry_run" = yes ] || trap remove_unused EXIT
    trap 'exit 1' HUP INT TERM
    options=
    if sees_system; then options=--system-site-packages; fi
    say "installing Python packages into $new; this takes minutes"
    # shellcheck disable=SC2086 # no word if empty
    run "$PYTHON" -m venv $options "$new"
    install_package
    # The unit is kept with its version, so that a rollback restores it.
    if [ "$dry_run" = no ] && [ -f "$here/$NAME.service" ]; then
        sed "s|^ExecStart=[^ ]*|ExecStart=$command|" "$here/$NAME.service" >"$new/$NAME.service"
    fi
    attempt "$new/bin/$NAME" doctor || fail 1 "the new version has the problems above; nothing was changed"
}

pip() { run "$new/bin/python" -m pip --quiet --disable-pip-version-check --no-cache-dir "$@"; }

install_package() {
    if [ -z "$wheel" ]; then
        pip wheel --no-deps --wheel-dir "$new/wheel" "$source"
        for wheel in "$new"/wheel/edge_fmnist-*.whl; do :; done
    fi
    pip install --no-deps "$wheel"
    if [ "$dry_run" = yes ]; then
        echo "would write: $new/requirements.txt, from the requirements of the wheel, and $new/constraints.txt"
    else
        requirements >"$new/requirements.txt"
        constraints >"$new/constraints.txt"
    fi
    # Wheels only: compiling takes hours on a Pi. No warnings about conflicts: the OpenCV build may be the other one.
    if sees_system; then
        pip install --only-binary :all: --no-warn-conflicts -r "$new/requirements.txt" -c "$new/constraints.txt"
    else
        pip install --only-binary :all: --no-warn-conflicts --no-deps --require-hashes -r "$new/constraints.txt"
        # Downloads nothing: fails if these are not the versions that the package requires.
        pip install --no-index --no-warn-conflicts -r "$new/requirements.txt"
    fi
}

# Print the package's requirements for this system, with two differences:
# - OpenCV: without a desktop, the build without windows. It needs no libGL, which saves 214 MB of Debian packages.
# - 32-bit ARM: the machine is set here, since the kernel of a 32-bit Raspberry Pi OS is a 64-bit one by default, for
#   which pip would choose wheels. NumPy and OpenCV have no 32-bit wheels and come from Debian.
requirements() {
    "$new/bin/python" - "$architecture" "$(opencv_build)" <<'END'
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

opencv_build() {
    if /sbin/ldconfig -p | grep -q 'libGL\.so\.1'; then echo opencv-python; else echo opencv-python-headless; fi
}

# Print the versions and hashes to install, without the OpenCV build that is not needed.
# Picamera2 is compiled for Debian's NumPy and fails with another major version. OpenCV and ml-dtypes have to fit that,
# so that these are not fixed there, and hashes cannot be required. 32-bit ARM has other wheels.
constraints() {
    if ! sees_system; then
        case $(opencv_build) in opencv-python) other=opencv-python-headless ;; *) other=opencv-python ;; esac
        awk -v other="$other==" '/^[a-z]/ { keep = index($0, other) != 1 } keep' "$here/constraints.txt"
        return 0
    fi
    if [ "$architecture" != armhf ]; then
        sed -n '/^numpy==/d; /^opencv-/d; /^ml-dtypes==/d; s/^\([a-z0-9-]*==[^\\]*\).*/\1/p' "$here/constraints.txt"
    fi
    numpy=$("$PYTHON" -c 'import numpy; print(numpy.__version__)' 2>/dev/null) ||
        fail 1 "expected Debian's NumPy for Picamera2, found none; run: apt-get install python3-numpy"
    echo "numpy==$numpy"
}

# point LINK TARGET: renaming is atomic, so that the link is valid even after a power failure.
point() {
    run ln -sfn "$2" "$1.new"
    run mv -T "$1.new" "$1"
}

# Make env-N the active environment and remember the one before it.
activate() {
    older=$(readlink "$prefix/previous" || true)
    old=$(readlink "$prefix/venv" || true)
    was_running=no
    if owns_unit && systemctl is-active --quiet "$NAME.service"; then was_running=yes; fi
    run sync -f "$prefix"
    if [ -n "$old" ]; then point "$prefix/previous" "$old"; fi
    point "$prefix/venv" "$1"
}

make_link() {
    if [ -e "$LINK" ] && ! owns_link; then
        say "kept $LINK, which belongs to another installation; the command of this one is $command"
        return 0
    fi
    run mkdir -p "$(dirname "$LINK")"
    run ln -sfn "$command" "$LINK"
}

install_settings() {
    if [ -f "$SETTINGS" ]; then
        say "settings: kept $SETTINGS"
    else
        run install -D -m 640 "$here/$NAME.toml" "$SETTINGS"
        run chgrp video "$SETTINGS"
    fi
    [ -f "$ROTATION" ] || run install -D -m 644 "$here/$NAME.logrotate" "$ROTATION"
    # Stream URLs may contain passwords. The service reads its settings as a member of the group video.
    if [ -n "$(find "$SETTINGS" \( -perm /o=rwx -o -group 0 \) 2>/dev/null)" ]; then run chgrp video "$SETTINGS"; fi
    for file in "$SETTINGS" "$SECRETS"; do
        if [ -n "$(find "$file" -perm /o=rwx 2>/dev/null)" ]; then run chmod 640 "$file"; fi
    done
}

install_unit() {
    [ -f "$prefix/venv/$NAME.service" ] || [ "$dry_run" = yes ] || return 0
    run install -D -m 644 "$prefix/venv/$NAME.service" "$UNIT.new"
    run mv "$UNIT.new" "$UNIT"
}

update_service() {
    [ "$service" = yes ] || owns_unit || return 0
    install_unit
    [ "$service" = no ] || run systemctl enable --quiet "$NAME.service"
    if [ ! -d "$ROOT/run/systemd/system" ]; then
        [ "$dry_run" = yes ] || say "service: installed; starts at the next boot (systemd is not running)"
        return 0
    fi
    run systemctl daemon-reload
    if [ "$service" = yes ] || [ $was_running = yes ]; then attempt systemctl restart "$NAME.service" || restart_failed; fi
}

restart_failed() {
    if [ $was_running = no ] || [ -z "$old" ]; then
        say "Warning: the service did not start yet and retries every 10 s (no camera?): journalctl -u $NAME"
        return 0
    fi
    point "$prefix/venv" "$old"
    if [ -n "$older" ]; then point "$prefix/previous" "$older"; else rm -f "$prefix/previous"; fi
    install_unit
    systemctl daemon-reload
    systemctl restart "$NAME.service" || true
    fail 1 "the service did not start with the new version, so the old one was restored; see: journalctl -u $NAME"
}

# Two runs would build the same environment, and each would delete that of the other.
lock() {
    [ "$dry_run" = no ] && [ -d "$prefix" ] || return 0
    exec 9<"$prefix"
    flock -n 9 || fail 1 "another run of install.sh uses $prefix; wait until it has ended"
}

install_all() {
    check_system
    check_python
    check_disk
    check_camera
    check_service
    check_root
    run mkdir -p "$prefix"
    lock
    run touch "$prefix/.$NAME"
    # shellcheck disable=SC2046 # one word per package
    apt_install $(packages)
    # Python may have been installed just now.
    [ -n "$version" ] || [ "$dry_run" = yes ] || check_python
    build_environment
    activate "${new##*/}"
    make_link
    if [ "$service" = yes ]; then install_settings; fi
    update_service
    [ "$dry_run" = yes ] || say "installed $NAME $("$command" --version) in $prefix; try: $NAME live --source demo"
}

rollback() {
    check_root
    lock
    target=$(readlink "$prefix/previous") || fail 1 "--rollback: there is no previous version in $prefix"
    "$prefix/$target/bin/$NAME" --version >/dev/null || fail 1 "--rollback: the previous version no longer runs"
    activate "$target"
    update_service
    [ "$dry_run" = yes ] || say "rolled back to $NAME $("$command" --version); --rollback again undoes this"
}

remove_service() {
    if [ -d "$ROOT/run/systemd/system" ]; then run systemctl stop "$NAME.service"; fi
    run systemctl disable --quiet "$NAME.service"
    run rm -f "$UNIT" "$ROTATION"
    if [ -d "$ROOT/run/systemd/system" ]; then run systemctl daemon-reload; fi
}

# Print the prefixes of other installations, found through the unit, the link, and folders beside the prefix.
other_prefixes() {
    for folder in "${prefix%/*}"/* "$ROOT"/opt/* "$(unit_program)" "$(readlink "$LINK" || true)"; do
        folder=${folder%/venv/bin/*}
        if [ -f "$folder/.$NAME" ] && [ "$folder" != "$prefix" ]; then echo "$folder"; fi
    done | sort -u
}

# Purge the packages that the installation added, unless something else needs them now.
remove_packages() {
    [ -s "$prefix/packages" ] || return 0
    added=$(sort -u "$prefix/packages" |
        while read -r name; do if is_installed "$name"; then echo "$name"; fi; done | xargs)
    [ -n "$added" ] || return 0
    # shellcheck disable=SC2086 # one word per package
    users=$({
        apt-get -s purge $added |
            awk -v added=" $added " '/^(Purg|Remv) / && !index(added, " " $2 " ") { print $2 }'
        other_prefixes
    } | xargs)
    if [ -n "$users" ]; then
        say "kept Debian packages that are now used by: $users"
        return 0
    fi
    # shellcheck disable=SC2086 # one word per package
    run env DEBIAN_FRONTEND=noninteractive apt-get purge -q -y $added
}

# Settings and data belong to the service, which may be that of another prefix.
remove_settings() {
    if [ -n "$owner" ] && [ "$owner" != "$command" ]; then
        say "kept settings and data, which belong to the service of $owner"
    elif [ "$purge" = yes ]; then
        run rm -rf "$SETTINGS" "$SECRETS" "$UNIT.d" "$STATE" "$PRIVATE_STATE"
    else
        for path in "$SETTINGS" "$SECRETS" "$STATE"; do [ ! -e "$path" ] || say "kept $path; --purge deletes it"; done
    fi
}

# Files of the user in it stay.
remove_prefix() {
    for name in venv previous packages; do run rm -rf "${prefix:?}/$name" "$prefix/$name.new"; done
    run rm -rf "$prefix"/env-[0-9]* "$prefix/.$NAME"
    run rmdir --ignore-fail-on-non-empty "$prefix"
    [ "$dry_run" = yes ] || [ ! -d "$prefix" ] || say "kept $prefix, which contains other files"
}

uninstall_all() {
    check_root
    lock
    owner=$(unit_program)
    # Settings that an earlier --uninstall kept are deleted unless another installation may use them.
    if [ ! -e "$prefix/.$NAME" ] && ! owns_unit && { [ "$purge" = no ] || [ -n "$(other_prefixes)" ]; }; then
        say "nothing to remove: not installed in $prefix"
        return 0
    fi
    if owns_unit; then remove_service; fi
    if owns_link; then run rm -f "$LINK"; fi
    remove_packages
    if [ -e "$prefix/.$NAME" ]; then remove_prefix; fi
    remove_settings
    [ "$dry_run" = yes ] || say "uninstalled from $prefix"
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
source=$(dirname "$here")
parse "$@"
check_arguments
case $action in
install) install_all ;;
rollback) rollback ;;
uninstall) uninstall_all ;;
esac
