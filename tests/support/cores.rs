//! Where a benchmark's processes sit. Left to itself the scheduler puts one server process on its client's core and the
//! next on another one, and a wake-up across cores can cost more than what is measured: two that are compared have to sit
//! alike.

use std::process::Command;

/// Where a client and its server sit.
#[derive(Clone, Copy)]
pub struct Cores {
    pub name: &'static str,
    pub client: usize,
    pub server: usize,
}

impl Cores {
    /// One core, which is the work alone; and two, where the cores' waking each other is in it. Two are left out, in a
    /// line, where there is only one.
    #[expect(clippy::print_stdout, reason = "what could not be measured is said")]
    pub fn available() -> &'static [Cores] {
        const ONE: Cores = Cores { name: "one core", client: 0, server: 0 };
        const TWO: Cores = Cores { name: "two", client: 0, server: 1 };
        if std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
            return &[ONE, TWO];
        }
        println!("this machine has one core: not measured on two");
        &[ONE]
    }
}

/// Keeps a process on a core, with all the threads that it has by now and will have.
pub fn keep_on(core: usize, pid: u32) {
    let mut command = Command::new("taskset");
    let output = command.args(["-acp", &core.to_string(), &pid.to_string()]).output();
    let output = output.unwrap_or_else(|error| panic!("taskset, of util-linux, is not to be had ({error})"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
