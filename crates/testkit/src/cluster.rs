//! Coordinators and agents as processes of their own, on one machine: a cluster as its operator sees it.

use std::net::Ipv4Addr;

use serde_json::Value;

use crate::audit::{Audit, Expected};
use crate::heats::Heats;
use crate::lab::Lab;
use crate::patience::eventually;
use crate::workspace::Workspace;

/// The port of every coordinator: each has an address of its own.
const PORT: u16 = 7177;

/// How the parts of a cluster reach each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wire {
    Plain,
    Tls,
}

/// Where the parts of a cluster are.
#[derive(Debug)]
enum Place {
    /// All on this machine: each coordinator has a loopback address of its own.
    Loopback,
    /// Each on a machine of its own: the coordinators first, then the agents.
    Lab(Lab),
}

/// A cluster in a workspace.
#[derive(Debug)]
pub struct Cluster {
    workspace: Workspace,
    wire: Wire,
    place: Place,
    /// How many coordinators it began with.
    founders: usize,
    /// Where each coordinator listens.
    addresses: Vec<String>,
    coordinators: Vec<Option<Heats>>,
    agents: Vec<Option<Heats>>,
}

impl Cluster {
    /// Starts so many coordinators, makes them a cluster, and attaches so many agents of two processors each.
    ///
    /// # Panics
    /// Where one does not start.
    pub fn start(workspace: Workspace, coordinators: usize, agents: usize) -> Self {
        Self::start_over(Wire::Plain, Place::Loopback, workspace, coordinators, agents)
    }

    /// The same over TLS, and each of them on a machine of its own: see [`Self::lab`].
    ///
    /// # Panics
    /// Where one does not start.
    pub fn start_apart(workspace: Workspace, coordinators: usize, agents: usize) -> Self {
        let lab = Lab::new(coordinators + agents);
        Self::start_trusted(Place::Lab(lab), workspace, coordinators, agents)
    }

    /// The same over TLS: certificates in `tls/`, commands as the admin, agents that join by tokens.
    ///
    /// # Panics
    /// Where one does not start.
    pub fn start_secure(workspace: Workspace, coordinators: usize, agents: usize) -> Self {
        Self::start_trusted(Place::Loopback, workspace, coordinators, agents)
    }

    fn start_trusted(place: Place, workspace: Workspace, coordinators: usize, agents: usize) -> Self {
        let mut init: Vec<String> = ["tls", "init", "--cluster", "lab"].map(str::to_owned).into();
        for number in 0..coordinators {
            init.extend(["--coordinator".to_owned(), format!("{}={}", number + 1, place.host(number))]);
        }
        workspace.ok(&init.iter().map(String::as_str).collect::<Vec<_>>());
        Self::start_over(Wire::Tls, place, workspace, coordinators, agents)
    }

    fn start_over(wire: Wire, place: Place, workspace: Workspace, coordinators: usize, agents: usize) -> Self {
        let addresses: Vec<String> = (0..coordinators).map(|number| place.address(number)).collect();
        let mut config = format!("address = \"{}\"\n", addresses.join(","));
        if wire == Wire::Tls {
            for (key, file) in [("ca", "ca.pem"), ("cert", "cert.pem"), ("key", "key.pem")] {
                config.push_str(&format!("{key} = \"../tls/admin/{file}\"\n"));
            }
        }
        std::fs::create_dir_all(workspace.file(".heats")).expect("a folder");
        workspace.write(".heats/config.toml", config);
        let mut cluster = Self {
            workspace,
            wire,
            place,
            founders: coordinators,
            addresses,
            coordinators: Vec::new(),
            agents: Vec::new(),
        };
        for number in 0..coordinators {
            let started = cluster.coordinator(number);
            cluster.coordinators.push(Some(started));
        }
        let mut init = vec!["cluster", "init"];
        init.extend(cluster.addresses.iter().map(String::as_str));
        cluster.workspace.ok(&init);
        for number in 0..agents {
            let started = cluster.agent(number);
            cluster.agents.push(Some(started));
        }
        cluster
    }

    /// The folder that everything is in.
    pub const fn workspace(&self) -> &Workspace {
        &self.workspace
    }

    /// The machines: coordinator `n` is on number `n`, agent `n` on [`Self::agent_machine`].
    ///
    /// # Panics
    /// Where there is one machine for all.
    pub fn lab(&self) -> &Lab {
        match &self.place {
            Place::Lab(lab) => lab,
            Place::Loopback => panic!("all is on one machine"),
        }
    }

    /// The machine of an agent.
    pub const fn agent_machine(&self, number: usize) -> usize {
        self.founders + number
    }

    /// How many coordinators there are.
    pub const fn size(&self) -> usize {
        self.coordinators.len()
    }

    /// Where a coordinator listens.
    pub fn address(&self, number: usize) -> String {
        self.addresses[number].clone()
    }

    /// What every coordinator says of itself: the items of `heats cluster status`.
    pub fn status(&self) -> Vec<Value> {
        // Without a leader it says so by its exit code, and tells the rest all the same.
        let status = self.workspace.run(&["cluster", "status", "-o", "json"]);
        status.json()["members"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until a coordinator leads; which.
    pub fn leader(&self) -> usize {
        eventually("a leader", || {
            let leads = |member: &&Value| member["role"] == "leader";
            let node = self.status().iter().find(leads)?["node"].as_u64().expect("a number");
            Some(node as usize - 1)
        })
    }

    /// The process of a coordinator that runs.
    ///
    /// # Panics
    /// Where it does not.
    pub fn coordinator_process(&self, number: usize) -> &Heats {
        self.coordinators[number].as_ref().expect("it runs")
    }

    /// The process of an agent that runs.
    ///
    /// # Panics
    /// Where it does not.
    pub fn agent_process(&self, number: usize) -> &Heats {
        self.agents[number].as_ref().expect("it runs")
    }

    /// Kills a coordinator without a warning.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn kill_coordinator(&mut self, number: usize) {
        let process = self.coordinators[number].take().expect("it runs");
        process.kill();
        process.finish();
    }

    /// Asks a coordinator to stop, as a restart of its service does.
    ///
    /// # Panics
    /// Where it does not run, or does not end well.
    pub fn stop_coordinator(&mut self, number: usize) {
        let process = self.coordinators[number].take().expect("it runs");
        process.terminate();
        process.finish().expect(0);
    }

    /// Starts a coordinator again, on its data.
    pub fn start_coordinator(&mut self, number: usize) {
        self.coordinators[number] = Some(self.coordinator(number));
    }

    /// Starts one coordinator more, and lets it join; its number.
    pub fn join(&mut self) -> usize {
        let number = self.begin(self.place.address(self.size()));
        self.workspace.ok(&["cluster", "add", &self.addresses[number]]);
        number
    }

    /// Makes a new cluster of a backup, of one coordinator at the first one's address: its number. The others are gone for
    /// good; the agents know nothing of it yet.
    ///
    /// # Panics
    /// Where one of the others still runs, or the backup is refused.
    pub fn restore(&mut self, backup: &str) -> usize {
        assert!(self.coordinators.iter().all(Option::is_none), "the old cluster is gone");
        let (first, data) = (self.addresses[0].clone(), format!("c{}", self.size() + 1));
        self.workspace.ok(&["cluster", "restore", backup, "--data", &data, "--advertise", &first]);
        self.begin(first)
    }

    /// Starts one coordinator more, which listens at `address`; its number.
    fn begin(&mut self, address: String) -> usize {
        let number = self.size();
        if self.wire == Wire::Tls {
            let host = address.trim_end_matches(&format!(":{PORT}"));
            self.workspace.ok(&["tls", "issue", "--coordinator", &format!("{}={host}", number + 1)]);
        }
        self.addresses.push(address);
        let started = self.coordinator(number);
        self.coordinators.push(Some(started));
        number
    }

    /// Takes a coordinator out; its process runs on.
    pub fn remove(&self, number: usize) {
        self.workspace.ok(&["cluster", "remove", &(number + 1).to_string()]);
    }

    /// Kills an agent without a warning; its trials run on.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn kill_agent(&mut self, number: usize) {
        let process = self.agents[number].take().expect("it runs");
        process.kill();
        process.finish();
    }

    /// Destroys the machine that an agent is on, with all that runs there: it never comes back.
    ///
    /// # Panics
    /// Where it does not run, or has no machine of its own.
    pub fn destroy_agent(&mut self, number: usize) {
        self.lab().destroy(self.agent_machine(number));
        self.agents[number].take().expect("it runs").finish();
    }

    /// Kills an agent and whoever leads at the same moment, and starts both again; until a coordinator leads.
    ///
    /// # Panics
    /// Where the agent does not run.
    pub fn kill_with_leader(&mut self, agent: usize) {
        let leader = self.leader();
        self.kill_agent(agent);
        self.kill_coordinator(leader);
        self.start_agent(agent);
        self.start_coordinator(leader);
        self.leader();
    }

    /// Starts an agent again, on its data.
    pub fn start_agent(&mut self, number: usize) {
        self.agents[number] = Some(self.agent(number));
    }

    /// Waits until so many measurements more have been made.
    ///
    /// # Panics
    /// Where they are not.
    pub fn measure(&self, more: usize) {
        let until = self.workspace.count_measured() + more;
        eventually("the next measurements", || (self.workspace.count_measured() >= until).then_some(()));
    }

    /// Waits for the newest sweep's end, audits it, and stops everything.
    ///
    /// # Panics
    /// With every fault.
    pub fn audit(mut self, expected: &Expected) -> (Workspace, Audit) {
        self.ended();
        let audit = Audit::take(&self.workspace, "last");
        for agent in self.agents.drain(..).flatten() {
            agent.terminate();
            agent.finish().expect(0);
        }
        for coordinator in self.coordinators.drain(..).flatten() {
            coordinator.terminate();
            coordinator.finish().expect(0);
        }
        self.workspace.expect_quiet();
        audit.expect(expected);
        (self.workspace, audit)
    }

    /// Waits for the newest sweep's end: as long as that takes, while something is measured.
    fn ended(&self) {
        let watch = self.workspace.start(&["watch", "last"]);
        while watch.is_running() {
            let before = self.workspace.count_measured();
            let goes_on = || self.workspace.count_measured() > before || !watch.is_running();
            eventually("the sweep to go on", || goes_on().then_some(()));
        }
        watch.finish().expect(0);
    }

    fn coordinator(&self, number: usize) -> Heats {
        let (id, data) = ((number + 1).to_string(), format!("c{}", number + 1));
        let (address, tls) = (&self.addresses[number], format!("tls/coordinator-{id}"));
        let mut command = vec!["coordinator", "start", "--id", &id, "--listen", address, "--data", &data];
        if self.wire == Wire::Tls {
            command.extend(["--tls", &tls]);
        }
        let started = self.start_on(number, &command);
        started.wait_line("listening on");
        started
    }

    fn agent(&self, number: usize) -> Heats {
        let name = format!("a{}", number + 1);
        let mut command = vec!["agent", "start", "--name", &name, "--cpus", "2", "--data", &name];
        let token = match self.wire {
            // It joins once.
            Wire::Tls if !self.workspace.file(&format!("{name}/agent/tls/cert.pem")).exists() => {
                self.workspace.ok(&["token", "create", "--role", "agent"]).stdout.trim().to_owned()
            }
            Wire::Tls | Wire::Plain => String::new(),
        };
        if !token.is_empty() {
            command.extend(["--join", &token]);
        }
        let started = self.start_on(self.agent_machine(number), &command);
        started.wait_line("offering");
        started
    }

    fn start_on(&self, machine: usize, args: &[&str]) -> Heats {
        let command = self.workspace.command(args);
        self.workspace.start_command(match &self.place {
            Place::Loopback => command,
            Place::Lab(lab) => lab.on(machine, &command),
        })
    }
}

impl Place {
    /// The address of a coordinator.
    fn host(&self, number: usize) -> Ipv4Addr {
        match self {
            Self::Lab(_) => Lab::address(number),
            // All of 127.0.0.0/8 is this machine's, and this part of it no other test's: they run one to a process.
            Self::Loopback => {
                let [_, _, high, low] = std::process::id().to_be_bytes();
                Ipv4Addr::new(127, high.max(1), low, u8::try_from(number + 1).expect("few coordinators"))
            }
        }
    }

    fn address(&self, number: usize) -> String {
        format!("{}:{PORT}", self.host(number))
    }
}
