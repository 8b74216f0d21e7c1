//! A coordinator as users and agents reach it: over gRPC, with its log on disk, and with agents played by the test.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use heats_coordinator::{Coordinator, CoordinatorConfig, StartError};
use heats_domain::{AgentId, Inventory, SweepId};
use heats_wire::series::{Point, points};
use heats_wire::v1::agents_client::AgentsClient;
use heats_wire::v1::cluster_client::ClusterClient;
use heats_wire::v1::stop::Purpose;
use heats_wire::v1::sweeps_client::SweepsClient;
use heats_wire::v1::{self, from_agent, to_agent};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

/// Nothing here takes longer on a machine that works; a test that hangs fails by this.
const PATIENCE: Duration = Duration::from_secs(30);

struct House {
    coordinator: Coordinator,
    sweeps: SweepsClient<Channel>,
    channel: Channel,
    _dir: TempDir,
}

impl House {
    async fn open() -> Self {
        Self::open_in(tempfile::tempdir().unwrap()).await
    }

    /// Another coordinator on the same data.
    async fn reopen(self) -> Self {
        let Self { coordinator, _dir: dir, .. } = self;
        coordinator.shutdown().await;
        Self::open_in(dir).await
    }

    /// Another coordinator on what a kill would leave now: asked before it leads.
    async fn killed(self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        copy(self._dir.path(), dir.path());
        self.coordinator.shutdown().await;
        Self::start_in(dir).await
    }

    async fn start_in(dir: TempDir) -> Self {
        let config = CoordinatorConfig::single(dir.path(), "127.0.0.1:0".parse().unwrap());
        let coordinator = Coordinator::start(config).await.unwrap();
        let channel = Channel::from_shared(format!("http://{}", coordinator.address())).unwrap().connect_lazy();
        Self { coordinator, sweeps: SweepsClient::new(channel.clone()), channel, _dir: dir }
    }

    async fn open_in(dir: TempDir) -> Self {
        let mut house = Self::start_in(dir).await;
        // A node that has just started leads after a moment: until then it asks to be asked again.
        tokio::time::timeout(PATIENCE, async {
            while house.status().await.leader.is_none() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        house
    }

    async fn status(&mut self) -> v1::StatusResponse {
        self.sweeps.status(v1::StatusRequest {}).await.unwrap().into_inner()
    }

    async fn submit(&mut self, request: u64, trials: u32) -> v1::SubmitResponse {
        let spec = serde_json::json!({
            "name": "s", "command": ["true"], "space": {"x": {"float": [0.0, 1.0]}},
            "objective": {"minimize": "loss"}, "search": {"algorithm": "random", "seed": 1},
            "early_stop": {"algorithm": "threshold", "upper": 10.0}, "budget": {"trials": trials}
        });
        let request = v1::SubmitRequest { request, spec: spec.to_string(), ..Default::default() };
        self.sweeps.submit(request).await.unwrap().into_inner()
    }

    async fn sweep(&mut self) -> v1::Sweep {
        let request = v1::GetRequest { sweep: "s".into(), ..Default::default() };
        self.sweeps.get(request).await.unwrap().into_inner().sweep.unwrap()
    }

    /// The trial's series, chunk by chunk.
    async fn chunks(&mut self, after_step: Option<u64>, until_step: Option<u64>) -> Vec<v1::SeriesChunk> {
        let request = v1::SeriesRequest { sweep: "s".into(), trial: 0, after_step, until_step };
        let mut stream = self.sweeps.series(request).await.unwrap().into_inner();
        let mut chunks: Vec<v1::SeriesChunk> = Vec::new();
        while let Some(chunk) = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap() {
            chunks.push(chunk.unwrap());
        }
        assert!(chunks.iter().rev().skip(1).all(|chunk| !chunk.last) && chunks.last().unwrap().last);
        chunks
    }

    async fn series(&mut self, after_step: Option<u64>, until_step: Option<u64>) -> Vec<Point> {
        self.chunks(after_step, until_step).await.iter().flat_map(|chunk| points(&chunk.points).unwrap()).collect()
    }

    async fn trial(&mut self, sample: u32) -> v1::TrialResponse {
        let request = v1::TrialRequest { sweep: "s".into(), trial: 0, sample };
        self.sweeps.trial(request).await.unwrap().into_inner()
    }

    async fn logs(&mut self, trial: u32) -> Streaming<v1::LogLine> {
        let request = v1::LogsRequest { sweep: "s".into(), trial: Some(trial), ..Default::default() };
        self.sweeps.logs(request).await.unwrap().into_inner()
    }

    async fn agent(&self, cpus: u32, holding: &[v1::AttemptKey]) -> Agent {
        self.process(cpus, holding, 0).await.unwrap()
    }

    /// The agent, as the process that drew `session`.
    async fn process(&self, cpus: u32, holding: &[v1::AttemptKey], session: u64) -> Result<Agent, tonic::Status> {
        let (outbox, inbox) = mpsc::channel(64);
        let hello = v1::Hello {
            agent: Some(AgentId { bits: 7 }),
            name: "test".into(),
            inventory: Some(Inventory { cpus, memory: 1 << 30, gpus: vec![], ..Inventory::default() }),
            holding: holding.iter().map(|key| v1::Holding { key: Some(*key) }).collect(),
            version: "test".into(),
            session,
            condition: None,
            lineage: 0,
            places: vec!["shared:1".into()],
            reads_artifacts: false,
        };
        let mut agent = Agent { outbox, stream: None, seq: 0 };
        agent.say(from_agent::Message::Hello(hello)).await;
        let answer = AgentsClient::new(self.channel.clone()).attach(ReceiverStream::new(inbox)).await?;
        agent.stream = Some(answer.into_inner());
        Ok(agent)
    }

    fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    async fn shown(&self) -> v1::AgentResponse {
        self.cluster().agent(v1::AgentRequest { agent: "test".into() }).await.unwrap().into_inner()
    }

    async fn drain(&self, now: bool) {
        let (agent, reason, by) = ("test".into(), "fans".into(), "ann@desk".into());
        self.cluster().drain_agent(v1::DrainAgentRequest { agent, reason, by, now }).await.unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The next line; `None` at the end.
async fn line(lines: &mut Streaming<v1::LogLine>) -> Option<v1::LogLine> {
    tokio::time::timeout(PATIENCE, lines.next()).await.unwrap().map(Result::unwrap)
}

/// An agent, played by the test.
struct Agent {
    outbox: mpsc::Sender<v1::FromAgent>,
    stream: Option<Streaming<v1::ToAgent>>,
    seq: u64,
}

impl Agent {
    async fn say(&mut self, message: from_agent::Message) {
        self.seq += 1;
        self.outbox.send(v1::FromAgent { seq: self.seq, message: Some(message) }).await.unwrap();
    }

    async fn report(&mut self, key: v1::AttemptKey, step: u64, loss: f64) {
        let metrics = Some([("loss", loss)].into_iter().collect());
        self.say(from_agent::Message::Report(v1::Report { key: Some(key), step, metrics })).await;
    }

    async fn finish(&mut self, key: v1::AttemptKey) {
        let end = Some(v1::End { kind: v1::end::Kind::Exited.into(), code: 0, signal: 0 });
        self.say(from_agent::Message::Finished(v1::Finished { key: Some(key), end, ..Default::default() })).await;
    }

    /// The next message; `None` when the coordinator ended the stream.
    async fn hear(&mut self) -> Option<to_agent::Message> {
        let stream = self.stream.as_mut().unwrap();
        let heard = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap()?;
        heard.ok()?.message
    }

    async fn welcome(&mut self) -> v1::Welcome {
        match self.hear().await {
            Some(to_agent::Message::Welcome(welcome)) => welcome,
            other => panic!("not a welcome: {other:?}"),
        }
    }

    async fn run(&mut self) -> v1::AttemptKey {
        match self.hear().await {
            Some(to_agent::Message::Run(run)) => run.key.unwrap(),
            other => panic!("not a run: {other:?}"),
        }
    }

    async fn acknowledged(&mut self, seq: u64) {
        match self.hear().await {
            Some(to_agent::Message::Ack(ack)) => assert_eq!(ack.seq, seq),
            other => panic!("not an acknowledgement: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_trial_runs_from_its_lease_to_its_end_and_the_next_one_follows() {
    let mut house = House::open().await;
    house.submit(1, 2).await;
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let first = agent.run().await;
    agent.report(first, 1, 0.5).await;
    agent.acknowledged(2).await;
    agent.finish(first).await;
    let second = agent.run().await;
    agent.acknowledged(3).await;
    assert_eq!((first.trial, second.trial), (0, 1));
    agent.report(second, 1, 0.25).await;
    agent.acknowledged(4).await;
    agent.finish(second).await;
    agent.acknowledged(5).await;
    let sweep = house.sweep().await;
    assert_eq!((sweep.status(), sweep.best[0].number, sweep.best[0].value), (v1::SweepStatus::Finished, 1, Some(0.25)));
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn the_report_that_dooms_a_trial_brings_the_order_to_stop_before_its_acknowledgement() {
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let key = agent.run().await;
    agent.report(key, 1, 11.0).await;
    let Some(to_agent::Message::Stop(stop)) = agent.hear().await else { panic!("no order to stop") };
    assert!(stop.why.contains("threshold at step 1"), "{}", stop.why);
    agent.acknowledged(2).await;
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn who_speaks_for_an_attempt_that_is_not_live_is_told_to_end_it() {
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let key = agent.run().await;
    let stale = v1::AttemptKey { attempt: 2, ..key };
    agent.report(stale, 1, 0.1).await;
    let Some(to_agent::Message::Stop(stop)) = agent.hear().await else { panic!("no order to stop") };
    assert_eq!((stop.key, stop.grace_ms), (Some(stale), 0));
    agent.acknowledged(2).await;
    assert_eq!(house.sweep().await.best, [], "it changed nothing");
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_comes_back_is_told_what_it_missed_and_what_it_lost() {
    let mut house = House::open().await;
    house.submit(1, 3).await;
    let mut agent = house.agent(2, &[]).await;
    agent.welcome().await;
    let (missed, lost) = (agent.run().await, agent.run().await);
    agent.report(lost, 1, 0.5).await;
    agent.acknowledged(2).await;
    drop(agent);
    let foreign = v1::AttemptKey { sweep: Some(SweepId { bits: 9 }), trial: 0, attempt: 1 };
    let mut agent = house.agent(2, &[foreign]).await;
    assert_eq!(agent.welcome().await.kill, [foreign]);
    assert_eq!(agent.run().await, missed, "its start was never heard of");
    assert_eq!(agent.run().await, v1::AttemptKey { attempt: 2, ..lost }, "it had reported, and is tried again");
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn a_newer_stream_of_an_agent_ends_the_older_one() {
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let mut older = house.agent(1, &[]).await;
    older.welcome().await;
    let key = older.run().await;
    let mut newer = house.agent(1, &[key]).await;
    newer.welcome().await;
    assert_eq!(older.hear().await, None);
    newer.report(key, 1, 0.5).await;
    newer.acknowledged(2).await;
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn a_second_process_with_the_id_of_one_that_lives_is_refused_and_told_what_to_do() {
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let mut first = house.process(1, &[], 11).await.unwrap();
    first.welcome().await;
    let key = first.run().await;
    let Err(refused) = house.process(1, &[], 12).await else { panic!("it is taken for the first") };
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("works on a copy of its data directory"), "{}", refused.message());
    first.report(key, 1, 0.5).await;
    first.acknowledged(2).await;
    // The same process, on another stream; and another one once the first is gone.
    let mut again = house.process(1, &[key], 11).await.unwrap();
    again.welcome().await;
    drop((first, again));
    let next = async {
        loop {
            if let Ok(agent) = house.process(1, &[key], 12).await {
                return agent;
            }
        }
    };
    tokio::time::timeout(PATIENCE, next).await.unwrap().welcome().await;
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn a_drained_agent_is_asked_for_what_it_holds_and_so_it_is_by_the_next_leader() {
    let mut house = House::open().await;
    house.submit(1, 3).await;
    let mut agent = house.agent(2, &[]).await;
    agent.welcome().await;
    let (running, waiting) = (agent.run().await, agent.run().await);
    agent.report(running, 1, 0.5).await;
    agent.acknowledged(2).await;
    let asked = async |agent: &mut Agent| match agent.hear().await {
        Some(to_agent::Message::Stop(stop)) => (stop.key.unwrap(), stop.purpose(), stop.why),
        other => panic!("not an order to stop: {other:?}"),
    };
    house.drain(false).await;
    let why = "its agent is drained: fans".to_owned();
    assert_eq!(asked(&mut agent).await, (waiting, Purpose::GiveBack, why.clone()));
    let end = Some(v1::End { kind: v1::end::Kind::Preempted.into(), code: 0, signal: 0 });
    agent.say(from_agent::Message::Finished(v1::Finished { key: Some(waiting), end, ..Default::default() })).await;
    agent.acknowledged(3).await;
    let shown = house.shown().await;
    let status = shown.agent.unwrap();
    assert_eq!((status.leases, status.attached, shown.holds[0].key), (1, true, Some(running)));
    let drain = status.drain.unwrap();
    assert_eq!((drain.by.as_str(), drain.reason.as_str(), drain.now), ("ann@desk", "fans", false));

    house.drain(true).await;
    assert_eq!(asked(&mut agent).await, (running, Purpose::Preempt, why.clone()));
    // It is killed before it hears that, and so is the coordinator.
    drop(agent);
    let mut house = house.reopen().await;
    let mut agent = house.agent(2, &[running]).await;
    agent.welcome().await;
    assert_eq!(asked(&mut agent).await, (running, Purpose::Preempt, why));
    agent.finish(running).await;
    agent.acknowledged(2).await;
    assert_eq!(house.sweep().await.counts.unwrap().waiting, 1, "nothing is leased to it");
    house.cluster().undrain_agent(v1::UndrainAgentRequest { agent: "test".into() }).await.unwrap();
    assert_eq!(agent.run().await, v1::AttemptKey { attempt: 2, ..waiting });
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_says_that_it_can_start_nothing_gets_nothing_until_it_can() {
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let key = agent.run().await;
    let full = v1::Condition { unable: "its disk is full".into(), disk_free: 1, disk_total: 2, ..Default::default() };
    let beat = |condition| from_agent::Message::Heartbeat(v1::Heartbeat { condition: Some(condition) });
    agent.say(beat(full.clone())).await;
    agent.acknowledged(2).await;
    let end = Some(v1::End { kind: v1::end::Kind::Preempted.into(), code: 0, signal: 0 });
    agent.say(from_agent::Message::Finished(v1::Finished { key: Some(key), end, ..Default::default() })).await;
    agent.acknowledged(3).await;
    assert_eq!(house.shown().await.agent.unwrap().condition, Some(full));
    assert_eq!(house.sweep().await.counts.unwrap().waiting, 1);
    agent.say(beat(v1::Condition::default())).await;
    // Acknowledged as soon as it is heard, leased in the next turn: either may come first.
    let heard = [agent.hear().await, agent.hear().await];
    let again = Some(v1::AttemptKey { attempt: 2, ..key });
    let leased = |message: &Option<_>| matches!(message, Some(to_agent::Message::Run(run)) if run.key == again);
    assert!(heard.iter().any(leased), "{heard:?}");
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn an_agent_that_leaves_gets_nothing_more() {
    let mut house = House::open().await;
    house.submit(1, 2).await;
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let key = agent.run().await;
    agent.say(from_agent::Message::Leaving(v1::Leaving {})).await;
    agent.acknowledged(2).await;
    agent.report(key, 1, 0.5).await;
    agent.acknowledged(3).await;
    agent.finish(key).await;
    agent.acknowledged(4).await;
    let counts = house.sweep().await.counts.unwrap();
    assert_eq!((counts.completed, counts.created), (1, 1));
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn logs_that_are_asked_for_while_their_agent_is_on_its_way_come_once_it_is_there() {
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let key = agent.run().await;
    let mut house = house.reopen().await;
    let mut lines = house.logs(0).await;
    let mut agent = house.agent(1, &[key]).await;
    agent.welcome().await;
    let id = match agent.hear().await {
        Some(to_agent::Message::LogRequest(request)) => request.id,
        other => panic!("not a request for logs: {other:?}"),
    };
    let chunk = v1::LogChunk { id, data: b"hello\n".to_vec(), end: true, ..Default::default() };
    agent.say(from_agent::Message::LogChunk(chunk)).await;
    let first = line(&mut lines).await.unwrap();
    assert_eq!((first.error.as_str(), first.data.as_slice()), ("", b"hello\n".as_slice()));
    assert_eq!(line(&mut lines).await, None);
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn logs_end_with_a_word_about_it_where_their_agent_is_lost() {
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let key = agent.run().await;
    let mut lines = house.logs(0).await;
    let Some(to_agent::Message::LogRequest(v1::LogRequest { id, .. })) = agent.hear().await else {
        panic!("no request for logs")
    };
    let chunk = v1::LogChunk { id, data: b"hello\n".to_vec(), ..Default::default() };
    agent.say(from_agent::Message::LogChunk(chunk)).await;
    assert_eq!(line(&mut lines).await.unwrap().data, b"hello\n");
    drop(agent);
    let mut agent = house.agent(1, &[key]).await;
    agent.welcome().await;
    assert!(line(&mut lines).await.unwrap().error.contains("lost on the way"));
    assert_eq!(line(&mut lines).await, None);
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn a_coordinator_that_has_just_started_answers_from_all_that_it_had_acknowledged() {
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let key = agent.run().await;
    // Enough that applying them again takes a moment.
    for from in (1..=5_000).step_by(50) {
        for step in from..from + 50 {
            agent.report(key, step, 1.0 / step as f64).await;
        }
        for step in from..from + 50 {
            agent.acknowledged(step + 1).await;
        }
    }
    agent.finish(key).await;
    agent.acknowledged(5_002).await;
    let mut house = house.killed().await;
    // Asked before it leads: it answers with everything, or says that it does not lead.
    let sweep = tokio::time::timeout(PATIENCE, async {
        loop {
            match house.sweeps.get(v1::GetRequest { sweep: "s".into(), ..Default::default() }).await {
                Ok(answer) => break answer.into_inner().sweep.unwrap(),
                Err(status) => assert_eq!(status.code(), Code::FailedPrecondition, "{status}"),
            }
        }
    });
    let sweep = sweep.await.unwrap();
    assert_eq!((sweep.status(), sweep.best[0].reports), (v1::SweepStatus::Finished, 5_000));
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn a_submit_repeated_after_a_lost_reply_makes_one_sweep() {
    let mut house = House::open().await;
    let first = house.submit(42, 1).await;
    let second = house.submit(42, 1).await;
    assert_eq!((first.sweep, first.existed), (second.sweep, false));
    assert!(second.existed);
    let all = house.sweeps.list(v1::ListRequest { all: true, limit: 0 }).await.unwrap().into_inner();
    assert_eq!(all.sweeps.len(), 1);
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn whoever_watches_hears_of_the_end_at_once_however_rarely_they_want_to_hear() {
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let request = v1::WatchRequest { sweep: "s".into(), min_interval_ms: 60_000 };
    let mut summaries = house.sweeps.watch(request).await.unwrap().into_inner();
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let key = agent.run().await;
    agent.report(key, 1, 0.5).await;
    agent.finish(key).await;
    let last = tokio::time::timeout(PATIENCE, async {
        let mut last = None;
        while let Some(summary) = summaries.next().await {
            last = summary.unwrap().sweep;
        }
        last.unwrap()
    });
    assert_eq!(last.await.unwrap().status(), v1::SweepStatus::Finished);
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn events_come_once_each_however_large_an_entry_is() {
    let mut house = House::open().await;
    // 600 trials are created and leased in one turn: more facts than one message of events holds.
    house.submit(1, 600).await;
    let mut agent = house.agent(600, &[]).await;
    agent.welcome().await;
    agent.run().await;
    let request = v1::EventsRequest { sweep: "s".into(), trial: None, from_index: 0, follow: false };
    let mut stream = house.sweeps.events(request).await.unwrap().into_inner();
    let mut kinds = Vec::new();
    let mut last = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        assert!(batch.log_index > last, "an entry is never cut in two");
        last = batch.log_index;
        kinds.extend(batch.events.into_iter().map(|event| event.kind));
    }
    let count = |name| kinds.iter().filter(|kind| *kind == name).count();
    assert_eq!((count("sweep_submitted"), count("trial_created"), count("trial_leased")), (1, 600, 600));
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn a_series_comes_in_bounded_chunks_and_is_the_same_while_the_trial_runs_after_its_end_and_after_a_restart() {
    const STEPS: u64 = 10_000;
    let mut house = House::open().await;
    house.submit(1, 1).await;
    let mut agent = house.agent(1, &[]).await;
    agent.welcome().await;
    let key = agent.run().await;
    assert_eq!(house.series(None, None).await, []);
    let report = |step: u64| {
        // Something is measured now and then, and not always in the same order.
        let mut metrics = vec![("loss", 1.0 / step as f64), ("rate", f64::NAN)];
        if step.is_multiple_of(500) {
            metrics.insert(0, ("accuracy", 0.5));
        }
        v1::Report { key: Some(key), step: step * 2, metrics: Some(metrics.into_iter().collect()) }
    };
    for from in (1..=STEPS).step_by(50) {
        for step in from..from + 50 {
            agent.say(from_agent::Message::Report(report(step))).await;
        }
        for step in from..from + 50 {
            agent.acknowledged(step + 1).await;
        }
    }
    let chunks = house.chunks(None, None).await;
    let sizes: Vec<usize> = chunks.iter().map(|chunk| points(&chunk.points).unwrap().len()).collect();
    assert_eq!(sizes, [4_096, 4_096, 1_808]);
    let all = house.series(None, None).await;
    let live = format!("{all:?}");
    let told = all.iter().zip(1..).all(|(point, step)| {
        let v1::Report { step, metrics, .. } = report(step);
        // NaN is not equal to itself; its text is.
        (point.step, point.attempt) == (step, 1)
            && format!("{:?}", Some(&point.metrics)) == format!("{:?}", metrics.as_ref())
    });
    assert!(told, "every point is what was reported, metrics in their order");

    let steps = |points: &[Point]| points.iter().map(|point| point.step).collect::<Vec<_>>();
    assert_eq!(steps(&house.series(Some(19_990), None).await), [19_992, 19_994, 19_996, 19_998, 20_000]);
    assert_eq!(steps(&house.series(Some(7), Some(11)).await), [8, 10]);
    assert_eq!(steps(&house.series(Some(20_000), None).await), [] as [u64; 0]);
    assert_eq!(steps(&house.series(None, Some(1)).await), [] as [u64; 0]);

    let sampled = house.trial(5).await;
    let sample = points(&sampled.sample).unwrap();
    assert_eq!(steps(&sample), [2, 5_000, 10_000, 15_000, 20_000]);
    assert_eq!((sampled.trial.unwrap().reports, house.trial(0).await.sample), (10_000, vec![]));

    agent.finish(key).await;
    while !house.sweep().await.status().as_str_name().contains("FINISHED") {
        tokio::task::yield_now().await;
    }
    assert!(format!("{:?}", house.series(None, None).await) == live, "a finished trial has the points that it had");
    let mut house = house.reopen().await;
    assert!(format!("{:?}", house.series(None, None).await) == live, "so it has after a restart");
    let missing = v1::SeriesRequest { sweep: "s".into(), trial: 9, ..Default::default() };
    assert_eq!(house.sweeps.series(missing).await.unwrap_err().code(), Code::NotFound);
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn a_coordinator_that_is_handed_the_lead_that_it_has_leads_on() {
    let mut house = House::open().await;
    house.cluster().transfer(v1::TransferRequest { to: 1 }).await.unwrap();
    let submitted = tokio::time::timeout(PATIENCE, house.submit(1, 1)).await;
    assert!(!submitted.expect("is answered").existed);
}

#[tokio::test]
async fn a_refusal_carries_its_code_and_hint() {
    let mut house = House::open().await;
    let status = house.sweeps.get(v1::GetRequest { sweep: "none".into(), ..Default::default() }).await.unwrap_err();
    let text = |key| status.metadata().get(key).and_then(|value| value.to_str().ok());
    assert_eq!((status.code(), text("heats-code")), (Code::NotFound, Some("H0001")));
    assert!(text("heats-hint").unwrap().contains("heats ls"));
    let request = v1::SubmitRequest { spec: r#"{"command": []}"#.into(), ..Default::default() };
    assert_eq!(house.sweeps.submit(request).await.unwrap_err().code(), Code::InvalidArgument);
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_hello_is_refused() {
    let house = House::open().await;
    let heartbeat =
        v1::FromAgent { seq: 1, message: Some(from_agent::Message::Heartbeat(v1::Heartbeat { condition: None })) };
    let answer = AgentsClient::new(house.channel.clone()).attach(tokio_stream::once(heartbeat)).await;
    assert_eq!(answer.unwrap_err().code(), Code::InvalidArgument);
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn health_and_reflection_answer() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    let house = House::open().await;
    let request = HealthCheckRequest { service: "heats.v1.Sweeps".into() };
    let health = HealthClient::new(house.channel.clone()).check(request).await.unwrap().into_inner();
    assert_eq!(health.status().as_str_name(), "SERVING");
    let list = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices("".into())),
        ..Default::default()
    };
    let mut answers = ServerReflectionClient::new(house.channel.clone())
        .server_reflection_info(tokio_stream::once(list))
        .await
        .unwrap()
        .into_inner();
    let Some(MessageResponse::ListServicesResponse(listed)) = answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    let names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    assert!(names.contains(&"heats.v1.Agents".into()) && names.contains(&"heats.v1.Sweeps".into()), "{names:?}");
    drop(answers);
    house.coordinator.shutdown().await;
}

#[tokio::test]
async fn only_this_machine_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let config = CoordinatorConfig::single(dir.path(), "0.0.0.0:0".parse().unwrap());
    assert!(matches!(Coordinator::start(config).await, Err(StartError::NotLoopback(_))));
}
