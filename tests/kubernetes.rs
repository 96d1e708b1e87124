//! Kubernetes' door: what is said to an API server, and what is made of its answers.

mod support;

mod kubernetes {
    mod server;
}
