//! What happens to servers and to what lies before them.

use std::time::Duration;

use crate::luck::Luck;
use crate::proxy::Mode;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The process is killed; another comes back with the same data.
    Killed,
    /// SIGSTOP, then SIGCONT.
    Frozen,
    /// Connections are closed in the middle of whatever they do, once.
    Reset,
    /// The proxy misbehaves.
    Proxied(Mode),
}

/// Of replies that are late and still in time, and of those that are too late.
const LATE: Duration = Duration::from_millis(150);
const TOO_LATE: Duration = Duration::from_millis(700);

impl Fault {
    const ALL: [Fault; 11] = [
        Fault::Killed,
        Fault::Frozen,
        Fault::Reset,
        Fault::Proxied(Mode::Slow(LATE)),
        Fault::Proxied(Mode::Slow(TOO_LATE)),
        Fault::Proxied(Mode::Hang),
        Fault::Proxied(Mode::Garbage),
        Fault::Proxied(Mode::Boast),
        Fault::Proxied(Mode::Truncate),
        Fault::Proxied(Mode::Wrong),
        Fault::Proxied(Mode::Shut),
    ];

    pub fn chosen(luck: &mut Luck) -> Self {
        Self::ALL[luck.below(Self::ALL.len())]
    }

    pub fn name(self) -> &'static str {
        match self {
            Fault::Killed => "killed",
            Fault::Frozen => "frozen",
            Fault::Reset => "reset",
            Fault::Proxied(Mode::Slow(LATE)) => "late",
            Fault::Proxied(Mode::Slow(_)) => "too late",
            Fault::Proxied(Mode::Hang) => "hangs",
            Fault::Proxied(Mode::Garbage) => "garbage",
            Fault::Proxied(Mode::Boast) => "boasts",
            Fault::Proxied(Mode::Truncate) => "cut short",
            Fault::Proxied(Mode::Wrong) => "wrong answers",
            Fault::Proxied(Mode::Shut) => "shut",
            Fault::Proxied(Mode::Pass) => "none",
        }
    }

    /// Whether it fails no read: what shows of it is how long rounds take.
    pub fn only_delays(self) -> bool {
        self == Fault::Proxied(Mode::Slow(LATE))
    }
}
