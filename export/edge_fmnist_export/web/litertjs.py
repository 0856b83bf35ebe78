"""LiteRT for the web (``@litertjs/core``): fetched from npm, checked by hash and kept in the user's cache."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from edge_fmnist.data.dataset import user_cache
from edge_fmnist.data.files import write_bytes
from edge_fmnist.errors import DownloadError

VERSION = "2.5.3"
# npm's integrity value of each package: base64 of the SHA-512 of its archive.
PACKAGES = {
    "@litertjs/core": "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
    "@litertjs/wasm-utils": "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
}
LICENCE = f"""\
LiteRT for the web {VERSION}, from the npm packages {" and ".join(PACKAGES)}.
Copyright 2025 Google LLC
https://github.com/google-ai-edge/LiteRT

Licensed under the Apache License, Version 2.0; you may not use these files except in compliance with the License.
You may obtain a copy of the License at https://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software distributed under the License is distributed on an
"AS IS" BASIS, WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the License for the specific
language governing permissions and limitations under the License.

Changed: index.js imports wasm-utils.js by its path.
"""


def litertjs_files() -> dict[str, bytes]:
    """Return the files of LiteRT for the web by name: the module, its WebAssembly build and the licence.

    It is the build without relaxed SIMD, which runs in all browsers and is as fast for these models.

    Raises:
        DownloadError: npm is missing or cannot fetch a package, or the package differs from the pinned one.
    """
    core, utils = (_members(_package(name)) for name in PACKAGES)
    name = "litert_wasm_compat_internal"
    # A browser resolves no bare module names.
    index = core["dist/index.js"].replace(b'"@litertjs/wasm-utils"', b'"./wasm-utils.js"')
    return {
        "index.js": _without_source_map(index),
        "wasm-utils.js": _without_source_map(utils["dist/index.js"]),
        f"{name}.js": core[f"wasm/{name}.js"],
        f"{name}.wasm": core[f"wasm/{name}.wasm"],
        "LICENSE": LICENCE.encode(),
    }


def _package(name: str) -> bytes:
    """Return the archive of a package, from the cache or else from npm."""
    archive = f"{name.strip('@').replace('/', '-')}-{VERSION}.tgz"
    cached = user_cache().parent / "litertjs" / archive
    content = cached.read_bytes() if cached.is_file() else _pack(name, archive, cached)
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if digest != PACKAGES[name]:
        raise DownloadError(
            f"{name} {VERSION}: expected SHA-512 {PACKAGES[name][:16]}…, got {digest[:16]}…; "
            f"delete {cached} if it exists, and try again"
        )
    # If it cannot be stored, the next page downloads it again.
    with contextlib.suppress(OSError):
        if not cached.is_file():
            write_bytes(cached, content)
    return content


def _pack(name: str, archive: str, cached: Path) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise DownloadError(
            f"LiteRT for the web comes from npm, which was not found; install Node.js (https://nodejs.org), or save "
            f"https://registry.npmjs.org/{name}/-/{name.split('/')[1]}-{VERSION}.tgz as {cached}"
        )
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", f"{name}@{VERSION}", "--pack-destination", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DownloadError(f"npm pack {name}@{VERSION} failed: {error}") from error
        path = Path(folder, archive)
        if done.returncode or not path.is_file():
            lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
            raise DownloadError(f"npm pack {name}@{VERSION} failed: {' '.join(lines[:3]) or done.stderr[-200:]}")
        return path.read_bytes()


def _members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = ((member.name.removeprefix("package/"), opened.extractfile(member)) for member in opened.getmembers())
        return {name: file.read() for name, file in files if file is not None}


def _without_source_map(script: bytes) -> bytes:
    return b"".join(line for line in script.splitlines(keepends=True) if not line.startswith(b"//# sourceMappingURL"))
