"""Readers behind ``data.load``: real files, embedded sets, made-up files for rehearsals."""
