"""What turns radiographs into a registered model: sources, DVC stages, tracking and the `fracture` command."""
