"""What pyproject.toml cannot say: the extension, which Pythons a wheel is for, and the links.

With the extension a wheel is for the stable ABI, `cp311-abi3`, and serves every later Python.
Without it, `py3-none-any`: where there is no C compiler, on builds that have no stable ABI
(free-threaded ones, and all that are not CPython), or with `TRIO_WSENDPOINT_PURE=1`.
"""

import os
import platform
import re
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel

PURE = bool(
    os.environ.get("TRIO_WSENDPOINT_PURE")
    or sysconfig.get_config_var("Py_GIL_DISABLED")
    or platform.python_implementation() != "CPython"
)

SPEEDUPS = Extension(
    "trio_wsendpoint.protocol._speedups",
    sources=["trio_wsendpoint/protocol/_speedups.c"],
    extra_compile_args=["-O3"],
    py_limited_api=True,
    optional=True,  # without a C compiler, the Python twins do the work
)


class Wheel(bdist_wheel):
    """A wheel that is tagged for what is in it, not for what should have been."""

    def run(self) -> None:
        """Build the extension first, to see whether that goes."""
        if not PURE:
            self.run_command("build_ext")
            built = self.get_finalized_command("build_ext").get_outputs()
            if not all(map(Path.exists, map(Path, built))):
                self.distribution.ext_modules = []
                self.root_is_pure = True
        super().run()


HOME = ""
"""Where the repository is published, such as `https://code.example/trio-wsendpoint`.

With it, README's links lead there from a package index, too; without it they are left out.
"""


def long_description() -> str:
    """README.md as a package index shows it, where there are no files beside it."""
    text = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    link = rf"[\1]({HOME}/blob/main/\2)" if HOME else r"\1"
    return re.sub(r"\[([^\]]+)\]\((?!https?:)([^)\s]+)\)", link, text)


setup(
    ext_modules=[] if PURE else [SPEEDUPS],
    long_description=long_description(),
    long_description_content_type="text/markdown",
    project_urls={"Source": HOME} if HOME else {},
    cmdclass={"bdist_wheel": Wheel},
    options={} if PURE else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
