//! The Kubernetes side: what is asked of the API server and told to it.

pub mod reviews;
