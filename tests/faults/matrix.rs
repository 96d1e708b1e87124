//! Every fault at once, on every way of holding replicas at once: scaled, broken, repaired, scaled again, drained.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tidegate::poller::BACKOFF_CAP;

use crate::fleet::{
    BUSY, Book, CONNECT_TIMEOUT, Cell, FALLBACK, Kind, MAX_AGE, Mode, NAMESPACE, POLLING, Pace, Process,
    RESPONSE_TIMEOUT, STANDING, TARGET, Undone, WINDOW,
};
use crate::inject::{self, Fault, KEY, Victim};
use crate::support::redis::RedisProcess;

/// Replicas when more work has come after the faults.
const MORE: i64 = 10;
/// What the server that is well asks for before and after its busy time.
const QUIET: i64 = 2;

/// What a busy machine may add to a bound in milliseconds: the measured values are printed beside the bounds.
const SCHEDULING: Duration = Duration::from_millis(1500);

/// How long after the end of a fault a sample has to be there.
///
/// Where the server stayed and a key failed, the next round reads it: one polling interval, and another one for a
/// round that is under way. Where the server was gone, the next attempt to connect may be a whole pause away
/// (`BACKOFF_CAP`); a round follows it at once. Where the server was frozen, besides, a connect or a round that
/// began before the end may have to run out of its time first.
fn recovery_bound(fault: Fault) -> Duration {
    let reading = 2 * POLLING;
    match fault {
        Fault::WrongType | Fault::Denied => reading,
        Fault::Killed | Fault::Password | Fault::Full => reading + BACKOFF_CAP,
        Fault::Frozen => reading + BACKOFF_CAP + CONNECT_TIMEOUT.max(RESPONSE_TIMEOUT),
    }
}

/// What was measured of one cell.
#[derive(Default)]
struct Figures {
    /// From the fault to the first refusal of both RPCs.
    refused: Option<Duration>,
    /// From the fault to the fallback's replicas.
    fell_back: Option<Duration>,
    /// From the repair to when the first good sample was taken.
    recovered: Option<Duration>,
    /// From the repair to the first step down.
    went_down: Option<Duration>,
}

pub fn run(pace: &Pace) {
    let mut victims: Vec<Victim> = Fault::ALL.into_iter().map(Victim::start).collect();
    for victim in &mut victims {
        victim.push(STANDING as usize * TARGET);
    }
    let well = RedisProcess::start();
    let mut to_well = well.connect().unwrap();
    inject::push(&mut to_well, QUIET as usize * TARGET);
    let start = |mode| Process::start(mode, &victims, &well, pace);
    let mut fleet: Vec<Process> = Mode::ALL.into_iter().map(start).collect();
    let mut figures: Vec<Vec<Figures>> =
        fleet.iter().map(|process| process.cells.iter().map(|_| Figures::default()).collect()).collect();
    side_by_side(&mut fleet, &mut figures, |process, _| {
        all_stand_at(process, "scaled", pace.patience, |_, _| Some(STANDING));
        for cell in &process.cells {
            process.tidegate.mark(NAMESPACE, &cell.name);
        }
    });

    // === broken ===
    let (began, broken) = (Instant::now(), SystemTime::now());
    victims.iter_mut().for_each(Victim::begin);
    // Only when the others' values are too old to be acted on: until then a decision that rests on them is served, and
    // an HPA that happens to look may follow it up.
    thread::sleep(MAX_AGE + MAX_AGE / 4);
    inject::push(&mut to_well, (BUSY - QUIET) as usize * TARGET);
    side_by_side(&mut fleet, &mut figures, |process, figures| broken_for_a_while(process, figures, pace, began));
    // The server that is well has less to do again, but what the other one has nobody knows.
    well.command::<()>(&["LTRIM", KEY, "1", &(QUIET as usize * TARGET).to_string()]);
    thread::sleep(WINDOW + 2 * POLLING);
    for (process, figures) in fleet.iter().zip(&mut figures) {
        for ((cell, book), figures) in process.cells.iter().zip(process.books()).zip(figures) {
            let first = book.first_at(FALLBACK, broken).and_then(|at| at.duration_since(broken).ok());
            figures.fell_back = first;
            let drop = book.first_drop(broken);
            assert_eq!(drop, None, "{}: {} went down during the fault: {book:?}", process.mode.name(), cell.name);
            if let (Mode::Memory, Kind::Plain) | (_, Kind::Patient) = (process.mode, cell.kind) {
                assert_eq!(first, None, "{}: {} needs no fallback", process.mode.name(), cell.name);
            }
        }
    }

    // === repaired ===
    let undone: Vec<Undone> = Fault::ALL.iter().map(|_| Undone::new()).collect();
    thread::scope(|scope| {
        for (victim, undone) in victims.iter_mut().zip(&undone) {
            scope.spawn(|| {
                victim.end();
                undone.set((Instant::now(), SystemTime::now())).unwrap();
            });
        }
        side_by_side(&mut fleet, &mut figures, |process, figures| recovers(process, figures, &undone, pace));
    });
    side_by_side(&mut fleet, &mut figures, |process, figures| {
        comes_to_rest(process, figures, &undone, pace);
    });

    // === scales again ===
    for victim in &mut victims {
        let there = if victim.fault == Fault::Killed { 0 } else { STANDING };
        victim.push((MORE - there) as usize * TARGET);
    }
    side_by_side(&mut fleet, &mut figures, |process, _| {
        all_stand_at(process, "scaled again", pace.patience, |_, cell| (cell.kind != Kind::Sleeper).then_some(MORE));
    });
    let drained = SystemTime::now();
    victims.iter_mut().for_each(Victim::drain);
    well.command::<()>(&["DEL", KEY]);
    side_by_side(&mut fleet, &mut figures, |process, _| {
        if process.mode.goes_down() {
            all_stand_at(process, "drained", pace.patience, |_, cell| (cell.kind != Kind::Sleeper).then_some(1));
        } else {
            thread::sleep(WINDOW + pace.hold / 4);
        }
        for (cell, book) in process.cells.iter().zip(process.books()) {
            if cell.kind == Kind::Sleeper {
                continue;
            }
            let after = book.first_drop(drained).map(|at| at.duration_since(drained).unwrap());
            let what = format!("{}: {} went down {after:?} after the last item", process.mode.name(), cell.name);
            match after {
                // The last sight of the items may be a polling interval old, or more where the machine was busy.
                Some(after) => assert!(process.mode.goes_down() && after + SCHEDULING > WINDOW, "{what}"),
                None => assert!(!process.mode.goes_down() && book.replicas == MORE, "{what}"),
            }
        }
    });
    print(&fleet, &figures);
}

/// Runs `work` on every process at the same time.
fn side_by_side(
    fleet: &mut [Process],
    figures: &mut [Vec<Figures>],
    work: impl Fn(&mut Process, &mut Vec<Figures>) + Sync,
) {
    let work = &work;
    thread::scope(|scope| {
        let all: Vec<_> = fleet
            .iter_mut()
            .zip(figures)
            .map(|(process, figures)| scope.spawn(move || work(process, figures)))
            .collect();
        // All of them first: the log of one that failed says what the others did, too.
        let ended: Vec<_> = all.into_iter().map(thread::ScopedJoinHandle::join).collect();
        for end in ended {
            end.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

fn all_stand_at(process: &Process, what: &str, patience: Duration, wanted: impl Fn(Mode, &Cell) -> Option<i64>) {
    until(process.mode, what, patience, || {
        let stands = |(cell, book): (&Cell, Book)| {
            let wanted = wanted(process.mode, cell)?;
            (book.replicas != wanted).then(|| format!("{} stands at {} and not at {wanted}", cell.name, book.replicas))
        };
        process.cells.iter().zip(process.books()).filter_map(stands).collect()
    });
}

/// Looks until nobody complains.
fn until(mode: Mode, what: &str, patience: Duration, mut complaints: impl FnMut() -> Vec<String>) {
    let give_up = Instant::now() + patience;
    loop {
        let left = complaints();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < give_up, "{}, {what}: after {patience:?} still\n{}", mode.name(), left.join("\n"));
        thread::sleep(Duration::from_millis(50));
    }
}

/// Nothing goes down, the RPCs and the metrics say why, and the fallbacks engage.
fn broken_for_a_while(process: &mut Process, figures: &mut [Figures], pace: &Pace, began: Instant) {
    let mode = process.mode;
    let hold = began + pace.hold;
    until(mode, "broken", pace.patience, || {
        let mut complaints = Vec::new();
        let metrics = process.tidegate.get("/metrics").body;
        let books = process.books();
        for (cell, book) in books.iter().enumerate() {
            let (name, kind) = (process.cells[cell].name.clone(), process.cells[cell].kind);
            assert!(book.lowest >= STANDING, "{}: {name} lost replicas: {book:?}", mode.name());
            let wanted = process.expected(cell);
            assert!(book.highest <= wanted, "{}: {name} rose: {book:?}", mode.name());
            if book.replicas != wanted {
                complaints.push(format!("{name} stands at {} and not at {wanted}", book.replicas));
            }
            if let Err(complaint) = process.tells(&metrics, cell) {
                complaints.push(format!("{name}: {complaint}"));
            }
            if kind == Kind::Patient {
                let (value, active) = process.asked(cell);
                let last = if matches!(mode, Mode::Replicas { .. }) { STANDING as f64 } else { 30.0 };
                assert_eq!(value.unwrap(), last, "{}: {name} has a value that is young enough", mode.name());
                assert!(active.unwrap());
                continue;
            }
            match process.refuses(cell) {
                Ok(()) => {
                    let after = *figures[cell].refused.get_or_insert(began.elapsed());
                    assert!(after >= MAX_AGE / 2, "{}: {name} was refused after {after:?}", mode.name());
                }
                Err(complaint) => complaints.push(format!("{name}: {complaint}")),
            }
        }
        if complaints.is_empty() && Instant::now() < hold {
            complaints.push("it is to last a little longer".into());
            thread::sleep(Duration::from_millis(150));
        }
        complaints
    });
}

fn recovers(process: &Process, figures: &mut [Figures], undone: &[Undone], pace: &Pace) {
    until(process.mode, "repaired", pace.patience, || {
        let mut missing = Vec::new();
        for ((cell, (health, taken)), figures) in process.cells.iter().zip(process.samples()).zip(&mut *figures) {
            if figures.recovered.is_some() {
                continue;
            }
            match undone[position(cell.fault)].get() {
                Some((undone, _)) if health == "fresh" => {
                    figures.recovered = Some(taken.saturating_duration_since(*undone));
                }
                _ => missing.push(format!("{} is {health}", cell.name)),
            }
        }
        missing
    });
    for (cell, figures) in process.cells.iter().zip(figures) {
        let (took, bound) = (figures.recovered.unwrap(), recovery_bound(cell.fault));
        let what =
            format!("{}: {} had a sample {took:?} after the repair, bound {bound:?}", process.mode.name(), cell.name);
        assert!(took <= bound + SCHEDULING, "{what}");
    }
}

/// The window passes, and only then does anything go down; the doors say that all is well.
fn comes_to_rest(process: &mut Process, figures: &mut [Figures], undone: &[Undone], pace: &Pace) {
    let mode = process.mode;
    // What lost its items goes to one replica (to none if it may sleep), and what a fallback raised comes back.
    let rests = |mode: Mode, cell: &Cell| match (mode.goes_down(), cell.fault, cell.kind) {
        (_, Fault::Killed, Kind::Sleeper) => Some(0),
        (true, Fault::Killed, Kind::Mixed) => Some(QUIET),
        (true, Fault::Killed, _) => Some(1),
        (true, ..) => Some(STANDING),
        (false, ..) => None,
    };
    all_stand_at(process, "at rest", pace.patience, rests);
    let (_, last) = undone.iter().map(|undone| *undone.get().unwrap()).max().unwrap();
    let window_ends = last + WINDOW + Duration::from_secs(1);
    thread::sleep(window_ends.duration_since(SystemTime::now()).unwrap_or_default());

    let metrics = process.tidegate.get("/metrics").body;
    for (cell, book) in process.books().into_iter().enumerate() {
        let Cell { fault, kind, name, .. } = &process.cells[cell];
        let (fault, kind, name) = (*fault, *kind, name.clone());
        let (_, repaired) = *undone[position(fault)].get().unwrap();
        let drop = book.first_drop(repaired).map(|at| at.duration_since(repaired).unwrap());
        figures[cell].went_down = drop;
        let what = format!("{}: {name} went down {drop:?} after the repair: {book:?}", mode.name());
        let keda_sleeps = kind == Kind::Sleeper && mode != Mode::Memory;
        if keda_sleeps {
            // KEDA goes to zero past every window once its cooldown since the last activity is over, and errors
            // are no activity to it. Where it asks for replicas it is told active until the decision itself is at
            // rest, and its cooldown comes on top of our window.
            match mode {
                Mode::Replicas { .. } => assert!(drop.is_none_or(|drop| drop >= WINDOW), "{what}"),
                _ => assert!(drop.is_some(), "{what}"),
            }
        } else if let Some(drop) = drop {
            // The window runs from the first good reading after a blindness. Where there was something to go by (a
            // value that is young enough, a fallback) it runs from the last reading that failed, which is a polling
            // interval earlier, or more on a busy machine.
            let blind = !matches!(kind, Kind::Patient | Kind::OwnFallback);
            let early = if blind { Duration::ZERO } else { SCHEDULING };
            assert!(mode.goes_down() && drop + early >= WINDOW, "{what}");
        }
        if fault != Fault::Killed {
            assert!(book.lowest >= STANDING, "{what}");
        }
        let (value, active) = process.asked(cell);
        // Where it is the decision that is served, one that is still above rest counts as active.
        let above_rest = matches!(mode, Mode::Replicas { .. }) && !keda_sleeps;
        assert_eq!(active.unwrap(), above_rest || fault != Fault::Killed || kind == Kind::Mixed, "{what}");
        assert!(value.is_ok(), "{what}: {value:?}");
        process.tells_of_health(&metrics, cell).unwrap_or_else(|complaint| panic!("{what}: {complaint}"));
    }
}

fn position(fault: Fault) -> usize {
    Fault::ALL.iter().position(|other| *other == fault).unwrap()
}

fn print(fleet: &[Process], figures: &[Vec<Figures>]) {
    let seconds = |value: Option<Duration>| value.map_or("-".into(), |value| format!("{:.2}", value.as_secs_f64()));
    println!("seconds from the fault, and from the repair (bound of recovery: + {SCHEDULING:?} for the machine)");
    println!(
        "{:<18} {:<20} {:>8} {:>9} {:>10} {:>6} {:>10}",
        "held by", "autoscaler", "refused", "fallback", "recovered", "bound", "went down"
    );
    for (process, figures) in fleet.iter().zip(figures) {
        for (cell, figures) in process.cells.iter().zip(figures) {
            println!(
                "{:<18} {:<20} {:>8} {:>9} {:>10} {:>6} {:>10}",
                process.mode.name(),
                cell.name,
                seconds(figures.refused),
                seconds(figures.fell_back),
                seconds(figures.recovered),
                seconds(Some(recovery_bound(cell.fault))),
                seconds(figures.went_down)
            );
        }
    }
}
