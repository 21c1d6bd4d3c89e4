"""The stages of a run, one file each: plain functions `stage(project, workspace, *, …) -> record`.

The other arguments are the records of earlier stages. A stage reads and writes only through the workspace and the
places that its records name, so it can run in any process with the same workspace. Stages never import each other;
pipeline/__init__.py has their order.
"""
