//! Every operation and every error, with real brokers.
