//! How trials report by door 0, and how they end.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use heats_wire::v1::end::Kind;
use heats_wire::v1::from_agent::Message;
use heats_wire::v1::{self, to_agent};

use crate::fake::{self, shell};
use crate::house::House;

fn kind(finished: &v1::Finished) -> (Kind, i32, i32) {
    let end = finished.end.expect("an end");
    (end.kind(), end.code, end.signal)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_does_nothing_starts_and_exits() {
    let house = House::new().await;
    let agent = house.agent().await;
    house.fake.run(3, serde_json::json!({ "command": ["true"] })).await;
    let finished = house.fake.finished(3).await;
    assert_eq!((kind(&finished), finished.detail.as_str()), ((Kind::Exited, 0, 0), ""));
    assert!(finished.max_rss > 0, "{finished:?}");
    house.fake.started(3).await;
    assert_eq!(house.fake.seen(|seen| seen.hellos[0].agent), Some(agent.id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metric_lines_arrive_in_order_and_before_the_end() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = r#"
        echo "lr is $HEATS_PARAM_LR, opt is $HEATS_PARAM_OPT" >&2
        for i in 1 2 3; do echo "::metric step=$i loss=0.$i"; done
        echo "::metric step=2 loss=7"
        exec 3>&1; sleep 0.2; echo '{"step":9,"loss":NaN}' >> "$HEATS_METRICS_FILE"
        exit 3"#;
    house.fake.run(0, shell(script)).await;
    let finished = house.fake.finished(0).await;
    let reports = house.fake.seen(|seen| seen.reports[&0].clone());
    assert_eq!(reports[..3], [(1, 0.1), (2, 0.2), (3, 0.3)]);
    assert!(reports.len() == 4 && reports[3].0 == 9 && reports[3].1.is_nan(), "{reports:?}");
    assert_eq!(kind(&finished), (Kind::Exited, 3, 0));
    assert!(finished.detail.contains("lr is 0.5, opt is a b"), "{}", finished.detail);
    assert!(finished.detail.contains("reached before: 1"), "{}", finished.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_standard_output_harms_nothing() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = "head -c 3000000 /dev/urandom; echo; echo '::metric loss'; echo '::metric step=1 loss=2'";
    house.fake.run(0, shell(script)).await;
    let finished = house.fake.finished(0).await;
    assert_eq!(kind(&finished), (Kind::Exited, 0, 0));
    assert_eq!(house.fake.seen(|seen| seen.reports[&0].clone()), [(1, 2.0)]);
    assert!(finished.detail.contains("`::metric loss`"), "{}", finished.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_lines_at_once_all_arrive() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = "seq -f '::metric step=%.0f loss=1' 1 100000";
    house.fake.run(0, shell(script)).await;
    house.fake.finished(0).await;
    let steps = house.fake.seen(|seen| seen.reports[&0].clone());
    assert_eq!((steps.len(), steps.last()), (100_000, Some(&(100_000, 1.0))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_that_reports_nothing_is_told_how_to() {
    let house = House::new().await;
    let _agent = house.agent().await;
    house.fake.run(0, shell("echo 'epoch 1, loss: 0.5'")).await;
    let finished = house.fake.finished(0).await;
    assert_eq!(kind(&finished), (Kind::Exited, 0, 0));
    for part in ["it never reported `loss`", "::metric step=1 loss=", "`epoch 1, loss: 0.5`"] {
        assert!(finished.detail.contains(part), "{}", finished.detail);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_started_says_why() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let script = house.file("script.sh");
    std::fs::write(&script, "#!/no/such/interpreter\n").expect("writes");
    let path = script.display().to_string();
    let cases = [
        (serde_json::json!({"command": ["no-such-program"]}), "no `no-such-program` on the PATH"),
        (serde_json::json!({"command": [path]}), "chmod +x"),
        (serde_json::json!({"command": ["true"], "code": {"path": "no/such/folder"}}), "no/such/folder"),
        (serde_json::json!({"command": ["true"], "env": {"python": "/no/such/requirements.txt"}}), "requirements.txt"),
        (serde_json::json!({"command": ["true"], "env": {"prefix": "/no/such/prefix"}}), "no folder `bin`"),
        (serde_json::json!({"command": []}), "empty"),
        (serde_json::json!({"nonsense": 1}), "specification"),
    ];
    for (trial, (spec, part)) in cases.into_iter().enumerate() {
        house.fake.run(trial as u32, spec).await;
        let finished = house.fake.finished(trial as u32).await;
        assert_eq!(kind(&finished).0, Kind::StartFailed, "{part}");
        assert!(finished.detail.contains(part), "{part}: {}", finished.detail);
    }
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("sets");
    house.fake.run(90, serde_json::json!({"command": [path]})).await;
    let finished = house.fake.finished(90).await;
    assert!(finished.detail.contains("#!/no/such/interpreter"), "{}", finished.detail);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_the_agent_did_not_send_is_named() {
    let house = House::new().await;
    let _agent = house.agent().await;
    house.fake.run(0, shell("kill -SEGV $$")).await;
    house.fake.run(1, shell("kill -KILL $$")).await;
    let (first, second) = (house.fake.finished(0).await, house.fake.finished(1).await);
    assert_eq!(kind(&first), (Kind::Signaled, 0, 11));
    assert!(first.detail.contains("SIGSEGV"), "{}", first.detail);
    assert_eq!(kind(&second), (Kind::Signaled, 0, 9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_that_runs_too_long_is_timed_out() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let mut spec = shell("sleep 1000");
    spec["run"] = serde_json::json!({ "timeout": "200ms" });
    house.fake.run(0, spec).await;
    let finished = house.fake.finished(0).await;
    assert_eq!(kind(&finished), (Kind::TimedOut, 0, 15));
    assert!(finished.detail.contains("200ms"), "{finished:?}");
}

/// Stops a trial as soon as it has reported.
fn stop_at_the_first_report(house: &House, grace: Duration) {
    house.fake.reply(move |message| match message {
        Message::Report(report) => {
            let grace_ms = grace.as_millis() as u64;
            vec![to_agent::Message::Stop(v1::Stop {
                key: report.key,
                grace_ms,
                why: "enough".into(),
                ..Default::default()
            })]
        }
        _ => Vec::new(),
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_that_is_stopped_may_end_by_itself() {
    let house = House::new().await;
    stop_at_the_first_report(&house, Duration::from_secs(3600));
    let _agent = house.agent().await;
    let script = "trap 'echo ::metric step=2 loss=2; exit 4' TERM; echo ::metric step=1 loss=1; \
                  while :; do sleep 0.01; done";
    house.fake.run(0, shell(script)).await;
    let finished = house.fake.finished(0).await;
    assert_eq!((kind(&finished), finished.detail.as_str()), ((Kind::Stopped, 4, 0), "enough"));
    assert_eq!(house.fake.seen(|seen| seen.reports[&0].clone()), [(1, 1.0), (2, 2.0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_that_ignores_sigterm_is_killed_with_everything_that_left_its_group() {
    let house = House::new().await;
    stop_at_the_first_report(&house, Duration::from_millis(100));
    let _agent = house.agent().await;
    let script = format!(
        "trap '' TERM; cd {}; setsid sh -c 'sh -c \"echo \\$\\$ > far; exec sleep 1000\" & wait' & \
         sleep 1000 & echo $! > near; while ! [ -s far ]; do sleep 0.01; done; \
         echo ::metric step=1 loss=1; while :; do sleep 1000; done",
        house.data.path().display()
    );
    house.fake.run(0, shell(&script)).await;
    assert_eq!(kind(&house.fake.finished(0).await), (Kind::Stopped, 0, 9));
    assert!(!house.process("near").runs() && !house.process("far").runs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_trial_leaves_behind_ends_with_it() {
    let house = House::new().await;
    let _agent = house.agent().await;
    // A double fork: the parent is gone at once, the grandchild is in a session of its own.
    let script = format!(
        "cd {}; (setsid sh -c 'echo $$ > daemon; exec sleep 1000' &) ; while ! [ -s daemon ]; do sleep 0.01; done",
        house.data.path().display()
    );
    house.fake.run(0, shell(&script)).await;
    assert_eq!(kind(&house.fake.finished(0).await), (Kind::Exited, 0, 0));
    assert!(!house.process("daemon").runs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_told_twice_is_one_process() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let (gate, count) = (house.gate("gate"), house.file("count"));
    let spec = shell(&format!("echo once >> {}; echo ::metric loss=1; read x < {gate}", count.display()));
    house.fake.run(0, spec.clone()).await;
    house.fake.reports(0, 1).await;
    house.fake.run(0, spec).await;
    house.open_gate("gate").await;
    house.fake.finished(0).await;
    assert_eq!(std::fs::read_to_string(count).expect("reads"), "once\n");
    assert_eq!(house.fake.seen(|seen| seen.finished[&0].len()), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_followed_to_their_end_and_can_be_read_afterwards() {
    let house = House::new().await;
    let _agent = house.agent().await;
    let gate = house.gate("gate");
    house.fake.run(0, shell(&format!("echo one; echo two >&2; read x < {gate}; echo three"))).await;
    house.fake.started(0).await;
    let request = |id, follow, trial| {
        to_agent::Message::LogRequest(v1::LogRequest {
            id,
            key: Some(fake::key(trial)),
            follow,
            ..v1::LogRequest::default()
        })
    };
    house.fake.tell(request(1, true, 0)).await;
    let text = |chunks: &[v1::LogChunk], stderr| -> String {
        let bytes: Vec<u8> = chunks.iter().filter(|c| c.stderr == stderr).flat_map(|c| c.data.clone()).collect();
        String::from_utf8(bytes).expect("text")
    };
    let first = |seen: &fake::Seen| (text(seen.logs.get(&1)?, false) == "one\n").then_some(());
    house.fake.wait("the first line", first).await;
    house.open_gate("gate").await;
    let end = |id| move |seen: &fake::Seen| seen.logs.get(&id).filter(|chunks| chunks.iter().any(|c| c.end)).cloned();
    let followed = house.fake.wait("the followed log's end", end(1)).await;
    assert_eq!((text(&followed, false).as_str(), text(&followed, true).as_str()), ("one\nthree\n", "two\n"));
    house.fake.finished(0).await;
    house.fake.tell(request(2, false, 0)).await;
    let read = house.fake.wait("the log's end", end(2)).await;
    assert_eq!((text(&read, false).as_str(), text(&read, true).as_str()), ("one\nthree\n", "two\n"));
    house.fake.tell(request(3, true, 99)).await;
    let none = house.fake.wait("a refusal", end(3)).await;
    assert!(none[0].error.contains("no log of"), "{none:?}");
}
