//! `fixed`: one size, whatever the backlog. With a minimum of zero it is still awake only while something is active:
//! activation is its own stage.

use crate::model::{Reason, Replicas};

pub(super) fn want(replicas: Replicas) -> (Replicas, Reason) {
    (replicas, Reason::Fixed)
}
