"""Pages of the site that lie outside docs/: mkdocs takes them from their places."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = {
    "data-sets.md": "data/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them under the names that `nav` has."""
    root = Path(config.config_file_path).parent
    for name, source in PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(root / source)))
    return files
