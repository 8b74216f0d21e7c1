//! GPUs that are left alone without their machine, and trusted again.

use heats_core::fact::{AgentQuarantined, AgentReleased, Fact, FailedAttempt, GpuQuarantined, GpuReleased};
use heats_domain::{AgentId, FailureKind, SweepId};

pub const V23: &[u8] = include_bytes!("entry-v23.bin");

/// The kinds of facts that versions before did not have.
pub fn left_alone() -> Vec<Fact> {
    let agent = AgentId { bits: 6 };
    let failure = FailureKind::Signal.into();
    let failed = FailedAttempt { sweep: SweepId { bits: 5 }, trial: 7, attempt: 2, failure, ran_ms: 900 };
    let quarantine = AgentQuarantined {
        agent,
        since_ms: 1_000,
        until_ms: 31_000,
        delay_ms: 30_000,
        proven: true,
        why: "3 different trials in a row failed there (signal)".into(),
        failures: vec![failed],
    };
    let release = |why: &str, by: &str| AgentReleased { agent, why: why.into(), by: by.into() };
    vec![
        Fact::GpuQuarantined(GpuQuarantined { gpu: 3, quarantine }),
        Fact::GpuReleased(GpuReleased { gpu: 3, release: release("a trial that was tried there worked", "") }),
        Fact::GpuReleased(GpuReleased { gpu: 0, release: release("", "ann@desk") }),
    ]
}
