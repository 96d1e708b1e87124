//! `fixed`: one size, whatever the backlog, for as long as it is above its activation threshold.

use crate::model::{Reason, Replicas};

pub(super) fn want(replicas: Replicas) -> (Replicas, Reason) {
    (replicas, Reason::Fixed)
}
