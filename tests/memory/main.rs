//! Trials that run out of memory, for real: processes that the kernel kills for it, and what the retries by variant make of that.

use std::process::ExitCode;

use heats_testkit::apart::{self, Own};
use heats_testkit::{Audit, Cluster, Expected, MemoryLimits, Workspace};
use serde_json::Value;

const MIB: u64 = 1 << 20;

fn main() -> ExitCode {
    apart::main(
        Own::Memory,
        &heats_testkit::tests![
            a_trial_that_is_killed_for_its_memory_completes_on_the_next_variant,
            a_trial_that_outgrows_the_last_variant_fails_and_is_not_tried_again,
        ],
    )
}

/// Two variants, which the script tells apart by their processors.
const SWEEP: &str = "
version: 1
name: grows
command: [./trial.sh]
space: { x: { int: [1, 1] } }
objective: { minimize: loss }
search: { algorithm: grid }
resources: [{ cpus: 1, memory: 48MiB }, { cpus: 2, memory: 256MiB }]
run: { retries: 0, retry: { out_of_memory: next_variant } }
";

/// Takes `MIB` of memory. Where the agent holds nobody to anything, it goes into the group of its variant first.
const TAKES: &str = r#"
[ -z "$LIMITS" ] || echo $$ > "$LIMITS/$OMP_NUM_THREADS/cgroup.procs" || exit 9
exec python3 -c 'taken = b"x" * (MIB << 20); print("::metric step=1 loss=0.5", flush=True)'
"#;

/// Runs one trial that takes so much, on an agent with room for both variants, to the end of its sweep, of which `heats watch`
/// tells by `code`.
fn run(mib: u64, code: i32) -> Audit {
    let workspace = Workspace::with(SWEEP, &TAKES.replace("MIB", &mib.to_string()));
    let limits = MemoryLimits::make(&workspace.file("limits"), &[48 * MIB, 256 * MIB]);
    let (name, value) = limits.variable();
    let cluster = Cluster::start(workspace.with_variable(name, &value), 1, 1);
    cluster.workspace().ok(&["submit", "sweep.yaml"]);
    cluster.workspace().run(&["watch", "last"]).expect(code);
    let audit = Audit::take(cluster.workspace(), "last");
    audit.expect(&Expected::trials(1).without_side_file());
    drop(cluster);
    // Nobody is in the groups any more: they can be removed.
    drop(limits);
    audit
}

/// The variant that each attempt was granted, and how it failed.
fn attempts(audit: &Audit) -> Vec<(u64, Value)> {
    let of = |kind: &'static str| audit.events.iter().filter(move |event| event.kind == kind);
    let variants = of("trial_leased").map(|event| event.fact["variant"].as_u64().expect("a number"));
    variants.zip(of("attempt_ended").map(|event| event.fact["failure"].clone())).collect()
}

fn a_trial_that_is_killed_for_its_memory_completes_on_the_next_variant() {
    let audit = run(96, 0);
    assert_eq!(attempts(&audit), [(0, "out_of_memory".into()), (1, Value::Null)]);
    let trial = audit.trial(0);
    assert_eq!((trial.state.as_str(), trial.value), ("completed", Some(0.5)), "{}", trial.json);
    let first = audit.events.iter().find(|event| event.kind == "attempt_ended").expect("it ended");
    let detail = first.fact["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("the kernel killed it because memory ran out"), "{detail}");
}

fn a_trial_that_outgrows_the_last_variant_fails_and_is_not_tried_again() {
    let audit = run(384, 8);
    assert_eq!(attempts(&audit), [(0, "out_of_memory".into()), (1, "out_of_memory".into())]);
    let trial = audit.trial(0);
    assert_eq!((trial.state.as_str(), trial.failure.as_deref()), ("failed", Some("out_of_memory")), "{}", trial.json);
}
