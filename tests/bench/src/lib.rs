//! Load generators and probes that compare the box with its peers; `README.md` beside says how to run them.
