//! What version 14 did not have: trials that span machines.

use heats_core::fact::{AgentAttached, Decides, Fact, LeasedMember, MemberEnded, TrialLeased, TrialStarted};
use heats_domain::resources::Rendezvous;
use heats_domain::{AgentId, FailureKind, Grant, Inventory, SweepId};

/// An entry with them.
pub const V15: &[u8] = include_bytes!("entry-v15.bin");

/// The kind of fact and the fields that version 14 did not have.
pub fn facts() -> Vec<Fact> {
    let (sweep, agent, other) = (SweepId { bits: 5 }, AgentId { bits: 6 }, AgentId { bits: 7 });
    let grant = Grant { cpus: 4, gpus: vec![0, 3], ..Grant::default() };
    let members = vec![LeasedMember { agent: other, grant: grant.clone() }];
    let rendezvous = Rendezvous { address: "10.0.0.6".into(), first_port: 29_500, ports: 64 };
    let ended = |rank, decides: Option<Decides>, failure: Option<FailureKind>| {
        Fact::MemberEnded(MemberEnded {
            sweep,
            trial: 7,
            attempt: 2,
            rank,
            decides: decides.map(i32::from),
            failure: failure.map(i32::from),
            ran_ms: 1_000,
            cpu_ms: 900,
            max_rss: 1 << 30,
            detail: "exit code 1".into(),
        })
    };
    vec![
        Fact::AgentAttached(AgentAttached {
            agent,
            name: "node-1".into(),
            inventory: Inventory { cpus: 8, rendezvous: Some(rendezvous), ..Inventory::default() },
            version: "0.1.0".into(),
            places: Vec::new(),
        }),
        Fact::TrialLeased(TrialLeased {
            sweep,
            trial: 7,
            attempt: 2,
            agent,
            grant,
            ahead: false,
            from: None,
            variant: 0,
            members,
            port: 29_501,
        }),
        Fact::TrialStarted(TrialStarted {
            sweep,
            trial: 7,
            attempt: 2,
            environment: String::new(),
            environment_name: None,
            hardware_name: None,
            rank: 1,
            warm: false,
            cold: String::new(),
        }),
        ended(1, Some(Decides::Failed), Some(FailureKind::Exit)),
        ended(0, Some(Decides::Infeasible), None),
        ended(0, None, None),
    ]
}
