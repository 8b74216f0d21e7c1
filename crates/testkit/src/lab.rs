//! Machines of a test's own, on a network of their own: network namespaces, each with an address, joined by a switch that
//! the test itself is connected to. A machine can be unplugged, or what it says to another one cut. Needs the right to make
//! such things, which not everybody has: see [`crate::apart`].

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use crate::marked;

/// The switch.
const SWITCH: &str = "switch";
/// What every machine calls its side of the wire.
const WIRE: &str = "eth0";
/// No machine has this address: what is sent there is gone.
const NOWHERE: &str = "02:00:00:00:00:ff";

/// Some machines and the switch between them. Dropped, they are gone.
#[derive(Debug)]
pub struct Lab {
    machines: Vec<Machine>,
}

/// A namespace, which lives as long as the process that holds it; that one ends with its input, which is the test's.
#[derive(Debug)]
struct Machine {
    holder: Child,
}

impl Machine {
    /// Makes `command` run on this machine.
    fn runs(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
        inside.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            inside.current_dir(dir);
        }
        inside
    }

    fn ip(&self, args: &[&str]) {
        succeed(self.runs(Command::new("ip").args(args)));
    }

    fn space(&self) -> Option<std::path::PathBuf> {
        std::fs::read_link(format!("/proc/{}/ns/net", self.holder.id())).ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Gone is as good as killed, and nobody waits for it but us.
        let _gone = self.holder.kill();
        let _reaped = self.holder.wait();
    }
}

impl Lab {
    /// Makes so many machines.
    ///
    /// # Panics
    /// Where the machine that this is does not let us.
    pub fn new(machines: usize) -> Self {
        ip(&["link", "set", "lo", "up"]);
        ip(&["link", "add", SWITCH, "type", "bridge"]);
        ip(&["address", "add", &format!("{}/24", Self::address(u8::MAX as usize - 2)), "dev", SWITCH]);
        ip(&["link", "set", SWITCH, "up"]);
        Self { machines: (0..machines).map(Self::machine).collect() }
    }

    fn machine(number: usize) -> Machine {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo; exec cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("`unshare` can be run");
        let said = std::io::Read::read(holder.stdout.as_mut().expect("is piped"), &mut [0]);
        assert!(said.is_ok_and(|count| count == 1), "no network namespace can be made here");
        let machine = Machine { holder };
        let (plug, pid) = (plug(number), machine.holder.id().to_string());
        ip(&["link", "add", &plug, "type", "veth", "peer", "name", WIRE, "netns", &pid]);
        ip(&["link", "set", &plug, "master", SWITCH, "up"]);
        machine.ip(&["link", "set", "lo", "up"]);
        machine.ip(&["address", "add", &format!("{}/24", Self::address(number)), "dev", WIRE]);
        machine.ip(&["link", "set", WIRE, "up"]);
        machine
    }

    /// A machine's address.
    ///
    /// # Panics
    /// With more machines than one has addresses for.
    pub fn address(machine: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, u8::try_from(machine + 1).expect("few machines"))
    }

    /// Makes `command` run on a machine.
    pub(crate) fn on(&self, machine: usize, command: &Command) -> Command {
        self.machines[machine].runs(command)
    }

    /// Pulls a machine's plug out of the switch: nothing comes or goes.
    pub fn unplug(&self, machine: usize) {
        ip(&["link", "set", &plug(machine), "down"]);
    }

    /// Puts it back in.
    pub fn plug(&self, machine: usize) {
        ip(&["link", "set", &plug(machine), "up"]);
    }

    /// What `from` says to `to` is lost from now on, without a word. What `to` says arrives.
    pub fn cut(&self, from: usize, to: usize) {
        let to = Self::address(to).to_string();
        self.machines[from].ip(&["neighbour", "replace", &to, "lladdr", NOWHERE, "dev", WIRE, "nud", "permanent"]);
    }

    /// What `from` says to `to` arrives again.
    pub fn heal(&self, from: usize, to: usize) {
        self.machines[from].ip(&["neighbour", "del", &Self::address(to).to_string(), "dev", WIRE]);
    }

    /// Pulls a machine's plug, and then its power: every process on it is gone in an instant, and what they had begun.
    pub fn destroy(&self, machine: usize) {
        self.unplug(machine);
        let (machine, space) = (&self.machines[machine], self.machines[machine].space());
        marked::kill_where(|pid| {
            pid.unsigned_abs() != machine.holder.id()
                && std::fs::read_link(format!("/proc/{pid}/ns/net")).ok().is_some_and(|found| Some(found) == space)
        });
    }
}

/// The name of a machine's plug at the switch.
fn plug(machine: usize) -> String {
    format!("plug{machine}")
}

fn ip(args: &[&str]) {
    let mut command = Command::new("ip");
    command.args(args);
    succeed(command);
}

fn succeed(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}
