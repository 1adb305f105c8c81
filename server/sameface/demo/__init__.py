"""The main job on real photos: start the service, enrol, decide, compare with what was expected, report."""
