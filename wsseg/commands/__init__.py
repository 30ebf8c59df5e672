"""One file per command, named as typed; a leading underscore marks what several commands share."""
