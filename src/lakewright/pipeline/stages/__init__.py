"""The stages of a run, one file each: plain functions `stage(project, workspace, *, …) -> record`.

The records of the stages before it that a stage needs are its further arguments. A stage reads and writes only through
the workspace and the places its records name, so it can run in any process that is given the same workspace. Stages
never import each other; pipeline/__init__.py has their order.
"""
