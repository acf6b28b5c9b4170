//! Turnpike's management: YAML configuration, API, metrics, logs and the turnpike command.
