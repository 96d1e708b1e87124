//! The two streams of KEDA's `external-push` triggers.
//!
//! Both end with OK: when the process stops, when the autoscaler is gone, when the grants change under a trigger. KEDA
//! then reopens after two seconds; after an error it would wait longer each time, for good. So a trigger that may not
//! be polled gets a stream that stays silent, and its reason on `GetMetrics`. So does one for which there is no room now;
//! that stream ends after a while, so that KEDA opens another one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::Stream;
use tonic::Status;

use super::asks::Known;
use super::meter::OpenStream;
use super::{Desk, Refusal, answer, asked};
use crate::board::{Activity, Cell};
use crate::proto::externalscaler::{GetMetricSpecResponse, IsActiveResponse, MetricSpec, ScaledObjectRef};
use crate::spec::AutoscalerSpec;
use crate::spec::keda_metadata::{Ask, Serve};

/// How often an open stream says that somebody still asks: well below the time after which a registration that nobody
/// asks for ends.
const TOUCH: Duration = Duration::from_secs(30);

pub(super) type Active = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;
pub(super) type Specs = Pin<Box<dyn Stream<Item = Result<GetMetricSpecResponse, Status>> + Send>>;

/// What both streams hold while they are open.
struct Line {
    desk: Arc<Desk>,
    known: Arc<Known>,
    watched: Watched,
    touch: Interval,
    _open: OpenStream,
}

/// What a line has to tell of.
enum Watched {
    Cell(Arc<Cell>),
    /// Nothing to watch: the line stays open and silent.
    Nothing,
    /// Nothing for want of room: there may be some later, so the line ends after a while.
    NoRoom,
}

impl Watched {
    fn cell(&self) -> Option<&Arc<Cell>> {
        match self {
            Watched::Cell(cell) => Some(cell),
            Watched::Nothing | Watched::NoRoom => None,
        }
    }
}

/// What ended a wait.
enum Woken {
    Changed,
    End,
}

impl Line {
    fn new(desk: &Arc<Desk>, known: Arc<Known>, watched: Watched, open: OpenStream) -> Self {
        // One timer as long as the stream stands: every `true` would set another one before it leaves this thread.
        let first = desk.clock.instant(desk.clock.now().after(TOUCH));
        let mut touch = tokio::time::interval_at(first, TOUCH);
        touch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Line { desk: Arc::clone(desk), known, watched, touch, _open: open }
    }

    /// Waits for a change of `watched` (for ever, without one), for shutdown, or for a reason to reopen.
    async fn wait<T>(&mut self, watched: Option<&mut watch::Receiver<T>>) -> Woken {
        let changed = async {
            match watched {
                // An error: the cell itself is gone.
                Some(watched) => watched.changed().await.is_ok(),
                None => std::future::pending().await,
            }
        };
        tokio::pin!(changed);
        loop {
            tokio::select! {
                biased;
                () = self.desk.shutdown.cancelled() => return Woken::End,
                alive = &mut changed => return if alive { Woken::Changed } else { Woken::End },
                _ = self.touch.tick() => {
                    if !self.desk.asks.is_current(&self.known) {
                        return Woken::End;
                    }
                    match &self.watched {
                        Watched::Cell(cell) => cell.touch(self.desk.clock.now()),
                        Watched::Nothing => {}
                        Watched::NoRoom => return Woken::End,
                    }
                }
            }
        }
    }
}

/// What `ask` lets a line watch. A refusal that a stream says by its silence is not an error.
async fn watched(desk: &Desk, ask: &Ask) -> Result<Watched, Refusal> {
    match desk.obtain(ask).await {
        Ok(cell) => Ok(Watched::Cell(cell)),
        Err(Refusal::NotPermitted(_)) => Ok(Watched::Nothing),
        Err(Refusal::NoRoom(_)) => Ok(Watched::NoRoom),
        Err(refusal) => Err(refusal),
    }
}

/// `true` on opening if active, then on each edge from inactive to active; `false` never, since KEDA ignores it and
/// each message costs it a status patch.
pub(super) async fn active(desk: &Arc<Desk>, object: &ScaledObjectRef) -> Result<Active, Refusal> {
    let known = desk.asks.read(object, desk.clock.now());
    let watched = watched(desk, asked(&known)?).await?;
    let activity = watched.cell().map(|cell| cell.activity());
    let line = Line::new(desk, known, watched, desk.stream_is_active.open());

    Ok(Box::pin(stream::unfold((line, activity, false), |(mut line, mut activity, mut told)| async move {
        loop {
            if line.desk.shutdown.is_cancelled() {
                return None;
            }
            match activity.as_mut().map(|activity| *activity.borrow_and_update()) {
                Some(Activity::Gone) => return None,
                Some(Activity::Active) if !told => {
                    return Some((Ok(IsActiveResponse { result: true }), (line, activity, true)));
                }
                Some(Activity::Inactive) => told = false,
                Some(Activity::Active | Activity::Pending) | None => {}
            }
            if let Woken::End = line.wait(activity.as_mut()).await {
                return None;
            }
        }
    })))
}

/// What a spec stream watches.
enum Subject {
    /// Stands as long as the stream: it follows from the metadata.
    Constant(Vec<MetricSpec>),
    /// Follows the autoscaler's spec.
    Followed { spec: watch::Receiver<Arc<AutoscalerSpec>>, activity: watch::Receiver<Activity> },
}

/// The current specs at once, then on each change.
pub(super) async fn specs(desk: &Arc<Desk>, object: &ScaledObjectRef) -> Result<Specs, Refusal> {
    let known = desk.asks.read(object, desk.clock.now());
    let ask = asked(&known)?;
    let (watched, subject) = match ask {
        Ask::Named { serve: Serve::Replicas, .. } => (Watched::Nothing, Subject::Constant(answer::replicas_specs())),
        Ask::Named { serve: Serve::Backlog, .. } => {
            let cell = desk.obtain(ask).await?;
            let subject = Subject::Followed { spec: cell.spec(), activity: cell.activity() };
            (Watched::Cell(cell), subject)
        }
        Ask::Trigger(trigger) => {
            let specs = vec![answer::metric_spec(&trigger.metric_name, trigger.target)];
            // Registering is a courtesy here; names and targets need nobody's leave.
            (watched(desk, ask).await.unwrap_or(Watched::Nothing), Subject::Constant(specs))
        }
    };
    let line = Line::new(desk, Arc::clone(&known), watched, desk.stream_metric_spec.open());

    Ok(Box::pin(stream::unfold((line, subject, None), |(mut line, mut subject, mut told)| async move {
        loop {
            if line.desk.shutdown.is_cancelled() {
                return None;
            }
            let specs = match &mut subject {
                Subject::Constant(specs) => specs.clone(),
                Subject::Followed { activity, .. } if *activity.borrow() == Activity::Gone => return None,
                Subject::Followed { spec, .. } => answer::backlog_specs(&spec.borrow_and_update()),
            };
            if told.as_ref() != Some(&specs) {
                told = Some(specs.clone());
                return Some((Ok(GetMetricSpecResponse { metric_specs: specs }), (line, subject, told)));
            }
            let woken = match &mut subject {
                Subject::Constant(_) => line.wait(None::<&mut watch::Receiver<()>>).await,
                Subject::Followed { spec, activity } => tokio::select! {
                    woken = line.wait(Some(spec)) => woken,
                    gone = activity.wait_for(|activity| *activity == Activity::Gone) => {
                        drop(gone);
                        Woken::End
                    }
                },
            };
            if let Woken::End = woken {
                return None;
            }
        }
    })))
}
