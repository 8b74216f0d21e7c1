//! Real trials under a real agent, with a coordinator that only listens: what they report, and how they end.

mod fake;

use std::time::Duration;

use fake::{Fake, agent, shell};
use heats_wire::v1::end::Kind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_does_nothing_starts_and_exits() {
    let (data, fake) = (tempfile::tempdir().expect("a folder"), Fake::start().await);
    let agent = agent(data.path(), &fake).await;
    fake.run(3, serde_json::json!({ "command": ["true"] })).await;
    let finished = fake.finished(3).await;
    let end = finished.end.expect("an end");
    assert_eq!((end.kind(), end.code, finished.detail.as_str()), (Kind::Exited, 0, ""));
    assert!(finished.max_rss > 0, "{finished:?}");
    fake.started(3).await;
    assert_eq!(fake.seen(|seen| seen.hellos[0].agent), Some(agent.id()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metric_lines_arrive_in_order_and_before_the_end() {
    let (data, fake) = (tempfile::tempdir().expect("a folder"), Fake::start().await);
    let _agent = agent(data.path(), &fake).await;
    let script = r#"
        echo "lr is $HEATS_PARAM_LR, opt is $HEATS_PARAM_OPT" >&2
        for i in 1 2 3; do echo "::metric step=$i loss=0.$i"; done
        echo '{"step":9,"loss":NaN}' >> "$HEATS_METRICS_FILE"
        exit 3"#;
    fake.run(0, shell(script)).await;
    let finished = fake.finished(0).await;
    let reports = fake.seen(|seen| seen.reports[&0].clone());
    assert_eq!(reports[..3], [(1, 0.1), (2, 0.2), (3, 0.3)]);
    assert!(reports[3].0 == 9 && reports[3].1.is_nan(), "{reports:?}");
    assert_eq!(finished.end.map(|end| (end.kind(), end.code)), Some((Kind::Exited, 3)));
    assert!(finished.detail.contains("lr is 0.5, opt is a b"), "{}", finished.detail);
    let _ = Duration::ZERO;
}
