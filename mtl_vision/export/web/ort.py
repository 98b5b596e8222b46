"""onnxruntime-web, which runs the network in the page: the one version that is used, from npm or from a folder."""

import gzip
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64decode
from hashlib import sha256, sha512
from pathlib import Path

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# To pin another one: `npm view onnxruntime-web@VERSION dist.integrity`, and sha256sum of the files in its dist/
TARBALL_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
WASM = {
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
WEBGPU = {
    "ort.webgpu.bundle.min.mjs": "0730816731ce2cdfb06f273da065d4a1c7091eb9d1756a83b2916c8a89d015e2",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
LEVEL = 6  # of gzip: 9 takes twice as long, for a hundredth of the bytes
SECONDS = 600  # that npm may take
HOW = (
    f"with a network and npm it comes by itself; without, run `npm pack {PACKAGE}@{VERSION}` where there are both, "
    "and give the file that it writes, or the folder that is in it, as --ort-web"
)


def ort_files(given: Path | None = None) -> dict[str, bytes]:
    """The files as the page has them, by name: modules, and binaries packed by gzip.

    given: npm's archive of the package, its folder, or the folder's `dist`; else npm fetches it. Raises ValueError,
    which says what to do, where a file is missing or is not of this version.
    """
    with tempfile.TemporaryDirectory() as folder:
        if given is None:
            given = _fetched(Path(folder))
        if given.is_file():
            given = _unpacked(given, Path(folder))
        return dict(_packed(name, _read(given, name, digest)) for name, digest in (WASM | WEBGPU).items())


def _read(folder: Path, name: str, digest: str) -> bytes:
    path = next((path for path in (folder / name, folder / "dist" / name) if path.is_file()), None)
    if path is None:
        raise ValueError(f"--ort-web '{folder}': expected the files of {PACKAGE} {VERSION}, found no '{name}'; {HOW}")
    data = path.read_bytes()
    if sha256(data).hexdigest() != digest:
        raise ValueError(f"'{path}' is not that of {PACKAGE} {VERSION}: its checksum is another; {HOW}")
    return data


def is_wasm(name: str) -> bool:
    """Whether a file, by its name in the page, is one of those that WebAssembly alone needs."""
    return any(_packed(own, b"")[0] == name for own in WASM)


def _packed(name: str, data: bytes) -> tuple[str, bytes]:
    """As any host serves it: modules as .js, since some do not know .mjs; binaries packed to a quarter of the bytes."""
    if name.endswith(".mjs"):
        return name.removesuffix(".mjs") + ".js", data
    return f"{name}.gz", gzip.compress(data, LEVEL, mtime=0)


def _fetched(folder: Path) -> Path:
    """The archive, from npm's own cache or its registry."""
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError(f"the page needs {PACKAGE} {VERSION}, and npm, which fetches it, is not installed: {HOW}")
    command = [
        npm,
        "pack",
        f"{PACKAGE}@{VERSION}",
        "--prefer-offline",
        "--loglevel=error",
        "--pack-destination",
        str(folder),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=folder)
    except subprocess.TimeoutExpired:
        raise ValueError(f"npm did not fetch {PACKAGE} {VERSION} within {SECONDS} s: {HOW}") from None
    path = folder / f"{PACKAGE}-{VERSION}.tgz"
    if done.returncode or not path.is_file():
        said = " ".join((done.stderr or done.stdout).split())[:300] or "nothing"
        raise ValueError(f"npm did not fetch {PACKAGE} {VERSION} (it says: {said}): {HOW}")
    if sha512(path.read_bytes()).digest() != b64decode(TARBALL_SHA512):
        raise ValueError(f"what npm fetched is not {PACKAGE} {VERSION}: its checksum is another; {HOW}")
    return path


def _unpacked(archive: Path, folder: Path) -> Path:
    """The folder with the files that are used."""
    try:
        with tarfile.open(archive) as tar:
            for name in WASM | WEBGPU:
                member = tar.extractfile(f"package/dist/{name}")
                if member is not None:
                    (folder / name).write_bytes(member.read())
    except (tarfile.TarError, KeyError, OSError) as error:
        raise ValueError(f"'{archive}' is not npm's archive of {PACKAGE} {VERSION} ({error}); {HOW}") from error
    return folder
