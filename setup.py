"""What pyproject.toml cannot say: an editable install brings data files, too (setuptools 84 asks by another name)."""

from setuptools import Distribution, setup


class WithData(Distribution):
    """A distribution whose data files an editable install finds."""

    has_data = Distribution.has_data_files


setup(distclass=WithData)
