"""Exchange of annotation with other tools: import, export, file formats."""
