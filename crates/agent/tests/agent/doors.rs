//! Doors 1 to 3, as a trial goes through them.

use heats_wire::v1::end::Kind;
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::{self, to_agent};

use crate::fake::run;
use crate::house::House;

fn python(script: &str) -> serde_json::Value {
    serde_json::json!({ "command": ["python3", "-c", script], "objective": { "minimize": "loss" } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_package_reports_and_is_told_to_stop_by_the_very_report() {
    let house = House::new().await;
    house.fake.reply(|message| match message {
        Message::Report(v1::Report { key, step: 2, .. }) => {
            vec![to_agent::Message::Stop(v1::Stop {
                key: *key,
                grace_ms: 3_600_000,
                why: "rung".into(),
                ..Default::default()
            })]
        }
        _ => Vec::new(),
    });
    let _agent = house.agent().await;
    let script = "
import heats
with heats.trial(defaults={'epochs': 9}, on_stop='flag', wait=True) as t:
    assert t.params.lr == 0.5 and t.params.opt == 'a b' and t.params.epochs == 9
    for epoch in range(1, 10):
        if t.report(epoch, loss=float('inf') if epoch == 1 else epoch):
            break
    print('stopped at', epoch)
";
    house.fake.run(0, python(script)).await;
    let finished = house.fake.finished(0).await;
    let end = finished.end.expect("an end");
    assert_eq!((end.kind(), end.code, finished.detail.as_str()), (Kind::Stopped, 0, "rung"));
    let stdout = std::fs::read_to_string(house.attempt(0).join("stdout.log")).expect("reads");
    assert_eq!(stdout, "stopped at 2\n");
    assert_eq!(house.fake.seen(|seen| seen.reports[&0].clone()), [(1, f64::INFINITY), (2, 2.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_can_call_itself_infeasible() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = "
import heats
with heats.trial() as t:
    t.infeasible('too wide')
";
    house.fake.run(0, python(script)).await;
    let finished = house.fake.finished(0).await;
    let end = finished.end.expect("an end");
    assert_eq!((end.kind(), end.code, finished.detail.as_str()), (Kind::Infeasible, 65, "too wide"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_attempt_goes_on_from_the_checkpoint_that_it_is_told() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = "
import heats, sys
with heats.trial() as t:
    start = 1
    if t.resume:
        start = t.resume.step + 1
        assert (t.resume.path / 'state').read_text() == str(t.resume.step)
    for epoch in range(start, 6):
        with t.checkpoint(epoch) as d:
            (d / 'state').write_text(str(epoch))
        if epoch == 4 and t.attempt == 1:
            sys.exit(1)
        t.report(epoch, loss=epoch)
";
    house.fake.run(0, python(script)).await;
    house.fake.finished(0).await;
    assert_eq!(house.fake.seen(|seen| seen.reports[&0].len()), 3);
    // The last checkpoint is always kept; of those before it, those that were not overtaken.
    let of_step = |step| house.fake.seen(|seen| seen.checkpoints.iter().find(|made| made.step == step).cloned());
    let second = v1::Run { resume_step: Some(3), from: of_step(4), ..run(0, 2, python(script)) };
    house.fake.tell(to_agent::Message::Run(second)).await;
    let ended = |seen: &crate::fake::Seen| seen.finished[&0].get(1).cloned();
    let finished = house.fake.wait("the second end", ended).await;
    assert_eq!(finished.end.map(|end| (end.kind(), end.code)), Some((Kind::Exited, 0)), "{}", finished.detail);
    let steps: Vec<u64> = house.fake.seen(|seen| seen.reports[&0].iter().map(|(step, _)| *step).collect());
    assert_eq!(steps, [1, 2, 3, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_that_closes_its_socket_harms_nobody() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = "
import os, socket, heats
for part in (b'', b'POST /v1/report HT', b'POST /v1/report HTTP/1.1\\r\\nhost: t\\r\\ncontent-length: 99\\r\\n\\r\\n{', b'\\x00' * 5000):
    for _ in range(30):
        s = socket.socket(socket.AF_UNIX)
        s.connect(os.environ['HEATS_API_SOCK'])
        try:
            s.sendall(part)
        except OSError:
            pass
        s.close()
with heats.trial() as t:
    t.report(1, loss=3)
os.remove(os.environ['HEATS_API_SOCK'])
with heats.trial() as t:
    t.poll_stop()
print('::metric step=2 loss=4')
";
    house.fake.run(0, python(script)).await;
    let finished = house.fake.finished(0).await;
    assert_eq!(finished.end.map(|end| (end.kind(), end.code)), Some((Kind::Exited, 0)), "{}", finished.detail);
    assert_eq!(house.fake.seen(|seen| seen.reports[&0].clone()), [(1, 3.0), (2, 4.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_report_is_answered_even_if_no_coordinator_takes_it() {
    let house = House::new().await;
    house.fake.acknowledge(false);
    let _agent = house.agent().await;
    let script = "
import heats
with heats.trial(wait=True) as t:
    assert not t.report(1, loss=3)
print('went on')
";
    house.fake.run(0, python(script)).await;
    house.fake.finished(0).await;
    let stdout = std::fs::read_to_string(house.attempt(0).join("stdout.log")).expect("reads");
    assert_eq!(stdout, "went on\n");
}
