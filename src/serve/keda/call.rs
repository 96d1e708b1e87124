//! One call in the log: the last link of the chain from a poll over a decision to an answer.
//!
//! At `debug`, because KEDA asks all the time. The line has the caller's request id, and the polling round behind the
//! answer: that number stands in the poller's lines before it and in the decision's.

use tonic::{Code, Request};

use super::Refusal;
use super::asks::LONGEST_NAME;
use crate::model::{Round, Tick};
use crate::proto::externalscaler::ScaledObjectRef;
use crate::serve::request_id::RequestId;
use crate::spec::problem::presentable;

/// What is known of a call before it is answered.
pub(super) struct Call {
    pub(super) began: Tick,
    id: Option<RequestId>,
}

/// What was answered, and the round that it rests on.
pub(super) struct Answered<T> {
    pub(super) value: T,
    pub(super) round: Option<Round>,
}

impl<T> Answered<T> {
    /// What follows from the metadata or the spec alone.
    pub(super) fn without_round(value: T) -> Self {
        Answered { value, round: None }
    }

    pub(super) fn map<U>(self, into: impl FnOnce(T) -> U) -> Answered<U> {
        Answered { value: into(self.value), round: self.round }
    }
}

impl Call {
    pub(super) fn of<T>(request: &Request<T>, began: Tick) -> Self {
        Call { began, id: request.extensions().get().cloned() }
    }

    /// Writes the line. `object` is whatever the caller made of it.
    pub(super) fn log<T>(
        &self,
        method: &'static str,
        object: Option<&ScaledObjectRef>,
        answer: &Result<Answered<T>, Refusal>,
    ) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let named = |name: fn(&ScaledObjectRef) -> &String| {
            object.map(|object| presentable(name(object).clone(), LONGEST_NAME)).unwrap_or_default()
        };
        let (namespace, scaled_object) = (named(|object| &object.namespace), named(|object| &object.name));
        let request_id = self.id.as_ref().map(tracing::field::display);
        match answer {
            Ok(answered) => {
                let round = answered.round.map(|round| round.0);
                tracing::debug!(method, request_id, namespace, scaled_object, round, "answered");
            }
            Err(refusal) => {
                let code = Code::description(&refusal.code());
                tracing::debug!(method, request_id, namespace, scaled_object, code, reason = refusal.told(), "refused");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_that_quotes_the_caller_is_short_in_the_log() {
        let refusal = Refusal::UnknownMetric { asked: "\r".repeat(65_000), yields: "jobs".to_owned() };
        assert!(refusal.to_string().len() > 65_000, "there is something to shorten");
        assert!(refusal.told().len() <= 4_096, "{}", refusal.told().len());
    }
}
