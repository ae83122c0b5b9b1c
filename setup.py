"""What pyproject.toml cannot say: the types of the modules that are single files.

A type checker believes what is installed only where `py.typed` lies, and a single file has no
place for that. PEP 561 has stub packages for it: `image_generator-stubs` holds the module once
more, made as the wheel is built.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithStubs(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # nothing of this folder is installed then
            self.write_stubs()

    def write_stubs(self) -> None:
        for module in self.py_modules:
            stub = Path(self.build_lib, f"{module}-stubs", "__init__.pyi")
            stub.parent.mkdir(parents=True, exist_ok=True)
            stub.write_bytes(Path(f"{module}.py").read_bytes())


setup(cmdclass={"build_py": BuildWithStubs})
