"""What must be encrypted, and under which key: the rules, `[tool.encenv]`, and what a settings class says."""
