"""The programs: see stage.program."""
