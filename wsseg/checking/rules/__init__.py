"""One file is one family of findings: its `judge(survey)` looks at the facts of all cases and says what it finds."""
