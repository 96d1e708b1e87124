//! Questions of several steps, and those whose answer is more than a number.
//!
//! A survey is a pure continuation: it says which commands it wants sent, and what to do with their replies, which is to
//! ask more or to conclude. It does no I/O, so that every decoder can be tested and fuzzed with made-up replies; and one
//! driver ([`conduct`]) takes all surveys of a round forward together, a pipeline a step, so that a thousand of them cost
//! the round trips of one.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use redis::{Cmd, Value};

use super::queues::{arq, bullmq, celery, dramatiq, list, resque, rq, sidekiq, stream};
use super::reply;
use crate::model::{Observation, ReadFailure, Tick};
use crate::source::{Moment, Read};

/// How often slow facts are looked up: ages, whose work is in flight, settings of a queue. People read them, and policies
/// smooth them; a second is fresh for both, and a tenth of what they would cost at 10 Hz.
const SLOW: Duration = Duration::from_secs(1);

/// Steps of one survey. None needs more; a defect must not keep a round for ever.
const STEPS: usize = 8;

/// One question. Equal ones are asked once, whoever shares them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Survey {
    Matching(list::Matching),
    Stream(stream::Group),
    CeleryBound(celery::Bound),
    CeleryUnacked(celery::Unacked),
    SidekiqBusy(sidekiq::Busy),
    SidekiqDue(sidekiq::Due),
    SidekiqOldest(sidekiq::Oldest),
    BullMeta(bullmq::Meta),
    BullOldest(bullmq::Oldest),
    RqOldest(rq::Oldest),
    RqSuspended(rq::Suspended),
    ResqueWorking(resque::Working),
    DramatiqInFlight(dramatiq::InFlight),
    DramatiqDelayed(dramatiq::Delayed),
    DramatiqOldest(dramatiq::Oldest),
    ArqJobs(arq::Jobs),
}

impl Survey {
    /// How often it is asked anew; in between, what it found last stands. Zero: in every round.
    pub(super) fn pace(&self) -> Duration {
        match self {
            Survey::Matching(_) | Survey::Stream(_) | Survey::CeleryBound(_) => Duration::ZERO,
            Survey::DramatiqInFlight(_) | Survey::ArqJobs(_) => Duration::ZERO,
            Survey::CeleryUnacked(_)
            | Survey::SidekiqBusy(_)
            | Survey::SidekiqDue(_)
            | Survey::SidekiqOldest(_)
            | Survey::BullMeta(_)
            | Survey::BullOldest(_)
            | Survey::RqOldest(_)
            | Survey::RqSuspended(_)
            | Survey::ResqueWorking(_)
            | Survey::DramatiqDelayed(_)
            | Survey::DramatiqOldest(_) => SLOW,
        }
    }

    /// The first step. `kept` is what the last one left behind.
    pub(super) fn begin(&self, at: Moment, kept: &Kept) -> Progress {
        match self {
            Survey::Matching(survey) => survey.begin(at, kept),
            Survey::Stream(survey) => survey.begin(at),
            Survey::CeleryBound(survey) => survey.begin(at, kept),
            Survey::CeleryUnacked(survey) => survey.begin(at),
            Survey::SidekiqBusy(survey) => survey.begin(at),
            Survey::SidekiqDue(survey) => survey.begin(at),
            Survey::SidekiqOldest(survey) => survey.begin(at),
            Survey::BullMeta(survey) => survey.begin(at),
            Survey::BullOldest(survey) => survey.begin(at),
            Survey::RqOldest(survey) => survey.begin(at),
            Survey::RqSuspended(survey) => survey.begin(at),
            Survey::ResqueWorking(survey) => survey.begin(at),
            Survey::DramatiqInFlight(survey) => survey.begin(at),
            Survey::DramatiqDelayed(survey) => survey.begin(at),
            Survey::DramatiqOldest(survey) => survey.begin(at),
            Survey::ArqJobs(survey) => survey.begin(at),
        }
    }
}

/// Where a survey stands.
pub(super) enum Progress {
    /// These commands are to be sent, and what is to be done with as many replies.
    Ask(Vec<Command>, Then),
    Done(Result<Observation, ReadFailure>),
    /// As [`Progress::Done`], and what the next one is to know.
    Keep(Result<Observation, ReadFailure>, Kept),
}

/// Errors of single commands are among the replies ([`Value::ServerError`]); those that speak of the server as a whole
/// are not: they end the round.
pub(super) type Then = Box<dyn FnOnce(&[Value]) -> Progress + Send>;

impl Progress {
    pub(super) fn ask(commands: Vec<Command>, then: impl FnOnce(&[Value]) -> Progress + Send + 'static) -> Self {
        Progress::Ask(commands, Box::new(then))
    }

    /// Concluded with what `facts` comes to.
    pub(super) fn conclude(facts: impl FnOnce() -> Result<Observation, ReadFailure>) -> Self {
        Progress::Done(facts())
    }
}

/// What a survey leaves behind for the next: keys that it found, and how far it got.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Kept {
    pub(super) keys: Vec<Arc<str>>,
    /// Where the walk that is under way goes on; zero where none is.
    pub(super) cursor: u64,
    /// Which of several patterns it is about.
    pub(super) pattern: usize,
    /// Found by the walk that is under way.
    pub(super) found: Vec<Arc<str>>,
    /// When the last walk came to its end.
    pub(super) walked: Option<Tick>,
    /// Why what the last walk found cannot be counted.
    pub(super) failed: Option<ReadFailure>,
}

impl Kept {
    /// Whether a walk is under way.
    pub(super) fn is_walking(&self) -> bool {
        self.cursor != 0 || self.pattern != 0
    }
}

/// One command, and the key by which a cluster finds its node.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) cmd: Cmd,
    /// `None`: any node will do.
    pub(super) key: Option<Arc<str>>,
}

impl Command {
    /// `words` and then `key`: `&["XINFO", "GROUPS"]`.
    pub(super) fn of(words: &[&str], key: &Arc<str>) -> Self {
        let mut cmd = words_of(words);
        cmd.arg(&**key);
        Command { cmd, key: Some(Arc::clone(key)) }
    }

    pub(super) fn without_key(words: &[&str]) -> Self {
        Command { cmd: words_of(words), key: None }
    }

    pub(super) fn arg(mut self, arg: impl redis::ToRedisArgs) -> Self {
        self.cmd.arg(arg);
        self
    }
}

fn words_of(words: &[&str]) -> Cmd {
    let mut cmd = Cmd::new();
    for word in words {
        cmd.arg(*word);
    }
    cmd
}

/// A survey that somebody wants, and what it found last.
#[derive(Debug)]
pub(super) struct Standing {
    survey: Arc<Survey>,
    kept: Kept,
    /// When it was last asked, and what came of that.
    last: Option<(Tick, Result<Observation, ReadFailure>)>,
    next: Tick,
}

impl Standing {
    pub(super) fn new(survey: Arc<Survey>) -> Self {
        Standing { survey, kept: Kept::default(), last: None, next: Tick::ZERO }
    }

    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.last.is_none() || now >= self.next
    }

    pub(super) fn begin(&self, at: Moment) -> Progress {
        self.survey.begin(at, &self.kept)
    }

    /// Commands that it takes now, about: most have two steps, and those that found keys ask for each of them.
    pub(super) fn commands(&self, now: Tick) -> usize {
        if self.is_due(now) { 2 + self.kept.keys.len() } else { 0 }
    }

    /// It has come to an end. `spread` is from 0 to 1 and another for each, so that those which began together do not all
    /// come back in the same round.
    pub(super) fn conclude(
        &mut self,
        at: Moment,
        spread: f64,
        facts: Result<Observation, ReadFailure>,
        kept: Option<Kept>,
    ) {
        match kept {
            Some(kept) => self.kept = kept,
            // One node of several did not answer, say: who answers in its place knows nothing of the walk.
            None if facts.is_err() => self.interrupted(),
            None => {}
        }
        let first = self.last.is_none();
        let pace = self.survey.pace();
        self.next = at.tick.after(if first { pace.mul_f64(spread) } else { pace });
        self.last = Some((at.tick, facts));
    }

    /// Whoever was asked last may not be who answers next. A walk that is under way begins anew: the next may keep its
    /// keys in another order, and the half that is left of the old walk would pass keys by.
    pub(super) fn interrupted(&mut self) {
        if self.kept.is_walking() {
            (self.kept.cursor, self.kept.pattern) = (0, 0);
            self.kept.found.clear();
            // What the last whole walk found is counted meanwhile, and the next one is due.
            self.kept.walked = self.kept.walked.map(|_| Tick::ZERO);
        }
    }

    /// What is known now: an oldest item has grown older since.
    pub(super) fn facts(&self, now: Tick) -> Option<Result<Observation, ReadFailure>> {
        let (asked, facts) = self.last.as_ref()?;
        Some(facts.clone().map(|facts| {
            let since = now.since(*asked).as_secs_f64();
            let oldest_age = facts.oldest_age.get().map_or(facts.oldest_age, |age| (age + since).into());
            Observation { oldest_age, ..facts }
        }))
    }
}

/// One for each command, in order. A failure is that of whoever was to answer: surveys that need it fail alone.
pub(super) type Replies = Vec<Result<Value, ReadFailure>>;

/// Sends commands and brings their replies: what a connection does.
pub(super) trait Sender {
    /// # Errors
    /// The server as a whole could not be asked, or does not serve.
    async fn send(&mut self, commands: &[Command]) -> Result<Replies, ReadFailure>;
}

/// What a survey found, and what it leaves behind for the next.
pub(super) type End = (Result<Observation, ReadFailure>, Option<Kept>);

/// Takes surveys to their ends, all together. One result each, in order.
///
/// # Errors
/// The server as a whole could not be asked.
pub(super) async fn conduct(
    address: &str,
    sender: &mut impl Sender,
    begun: Vec<Progress>,
) -> Result<Vec<End>, ReadFailure> {
    let mut ended: Vec<Option<End>> = Vec::new();
    ended.resize_with(begun.len(), || None);
    let mut going: Vec<(usize, Progress)> = begun.into_iter().enumerate().collect();
    for _ in 0..STEPS {
        let mut commands = Vec::new();
        let mut waiting = Vec::new();
        for (place, progress) in going.drain(..) {
            match progress {
                Progress::Ask(asks, then) => {
                    waiting.push((place, asks.len(), then));
                    commands.extend(asks);
                }
                Progress::Done(facts) => set(&mut ended, place, (facts, None)),
                Progress::Keep(facts, kept) => set(&mut ended, place, (facts, Some(kept))),
            }
        }
        if waiting.is_empty() {
            break;
        }
        let replies = if commands.is_empty() { Vec::new() } else { sender.send(&commands).await? };
        let mut replies = replies.into_iter();
        for (place, count, then) in waiting {
            // All of its own first: what a failure would leave behind would be taken for the next one's.
            let own: Replies = replies.by_ref().take(count).collect();
            match own.into_iter().collect::<Result<Vec<Value>, ReadFailure>>() {
                Ok(own) if own.len() == count => going.push((place, then(&own))),
                Ok(_) => set(&mut ended, place, (Err(reply::missing(address)), None)),
                Err(failure) => set(&mut ended, place, (Err(failure), None)),
            }
        }
    }
    Ok(ended.into_iter().map(|end| end.unwrap_or_else(|| (Err(reply::missing(address)), None))).collect())
}

fn set<T>(ended: &mut [Option<T>], place: usize, end: T) {
    if let Some(free) = ended.get_mut(place) {
        *free = Some(end);
    }
}

/// Answers one read after another with made-up replies, round by round: what fuzzers knock at. The same decoders as in
/// [`super::RedisBackend`], without a server.
pub(super) fn rehearse(
    read: &Read,
    rounds: &[Moment],
    reply: &mut dyn FnMut(&Cmd) -> Value,
) -> Vec<Result<Observation, ReadFailure>> {
    struct MadeUp<'a>(&'a mut dyn FnMut(&Cmd) -> Value);
    impl Sender for MadeUp<'_> {
        async fn send(&mut self, commands: &[Command]) -> Result<Vec<Result<Value, ReadFailure>>, ReadFailure> {
            Ok(commands.iter().map(|command| Ok((self.0)(&command.cmd))).collect())
        }
    }
    let Read::Survey(survey) = read else { return Vec::new() };
    let mut standing = Standing::new(Arc::clone(survey));
    let mut facts = Vec::with_capacity(rounds.len());
    for at in rounds {
        if standing.is_due(at.tick) {
            let mut sender = MadeUp(reply);
            // Nothing in there waits.
            match conduct("made-up", &mut sender, vec![standing.begin(*at)]).now_or_never() {
                Some(Ok(ended)) => {
                    for (facts, kept) in ended {
                        standing.conclude(*at, 0.0, facts, kept);
                    }
                }
                Some(Err(failure)) => {
                    standing.interrupted();
                    facts.push(Err(failure));
                    continue;
                }
                None => continue,
            }
        }
        facts.extend(standing.facts(at.tick));
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureKind;

    /// Answers the number of the command, but for those that fail.
    struct Numbered(Vec<usize>);

    impl Sender for Numbered {
        async fn send(&mut self, commands: &[Command]) -> Result<Replies, ReadFailure> {
            let reply = |i: usize| match self.0.contains(&i) {
                true => Err(ReadFailure::new(FailureKind::Unreachable, "gone")),
                false => Ok(Value::Int(i64::try_from(i).unwrap())),
            };
            Ok((0..commands.len()).map(reply).collect())
        }
    }

    #[test]
    fn a_failure_is_its_own_surveys_and_shifts_nobody_elses_replies() {
        let asks = |count: usize| {
            let commands = vec![Command::without_key(&["PING"]); count];
            Progress::ask(commands, |replies| {
                let sum =
                    replies.iter().map(|reply| if let Value::Int(number) = reply { *number as f64 } else { -1e9 });
                Progress::Done(Ok(Observation::of_backlog(sum.sum())))
            })
        };
        let begun = vec![asks(3), asks(2), asks(1)];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // The first of the first survey's three, and none of the others'.
        let ended = runtime.block_on(conduct("redis:6379", &mut Numbered(vec![0]), begun)).unwrap();
        let backlogs: Vec<Option<f64>> =
            ended.into_iter().map(|(facts, _)| facts.ok().map(|facts| facts.backlog)).collect();
        assert_eq!(backlogs, [None, Some(7.0), Some(5.0)]);
    }
}
